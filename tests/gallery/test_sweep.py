"""Every route of the gallery against visitors who may not and values that are odd. A route without a row
here fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.routing import Mount

from airflow_provider_seedream.gallery.shell import SECURITY_HEADERS
from tests.airflow.postgres import find_binaries, postgres
from tests.gallery.conftest import WATCHES, Visitor, airflow_tables, cookies_of
from tests.gallery.stage import LINK_KEY, land
from tests.gallery.test_rows import put, xcom

OF_TASK = ("dag_id", "run_id", "task_id", "map_index")
SOUND = {
    "dag_id": "watches",
    "run_id": "manual__1",
    "task_id": "land",
    "map_index": "-1",
    "number": "1",
    "name": "gallery.css",
    "asset_id": "1",
}
LONG = "x" * 5000
# Odd values of a part of a path, as they are written in an address; each is harmless in itself.
ODD_PARTS = {
    "long": LONG,
    "negative": "-7",
    "beyond any integer": "9" * 5000,
    "beyond a database's integer": "4294967296",
    "float": "1.5",
    "none": "None",
    "tilde": "~",
    "quoted dots": "%2e%2e",
    "quoted slash": "..%2F..%2Fx",
    "quoted backslash": "..%5Cx",
    "quoted NUL": "a%00b",
    # a whole line break reaches no app that is mounted: Starlette's pattern ends there
    "carriage return": "a%0db",
    "not UTF-8": "%ff%fe",
    "half a surrogate": "%ed%a0%80",
    "another script": "%D0%B6%E2%80%AE",
    "a template": "%7B%7B%207*7%20%7D%7D",
    "markup": "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "a quote": "%27%20OR%201=1--",
    "a wildcard": "%25",
    "digits of another script": "%D9%A1",
    "a hash of upper case": "A" * 64,
}
CURSORS = {
    "an odd cursor": "~~~",
    "a cursor beyond time": "9999-12-31T23:59:59-23:59~1~-1~land",
    "a cursor before time": "0001-01-01T00:00:00+23:59~1~-1~land",
    "a cursor with numbers beyond": f"2026-03-01T12:00:00+00:00~{'9' * 40}~{'9' * 40}~land",
    "a cursor with a database's numbers beyond": "2026-03-01T12:00:00+00:00~4294967296~4294967296~land",
    "a cursor without a zone": "2026-03-01T12:00:00~1~-1~land",
    "a cursor with NUL": "2026-03-01T12:00:00+00:00~1~-1~a\0b",
}
ODD_TEXTS = {
    "empty": "",
    "long": "y" * 30_000,
    "NUL": "a\0b",
    "markup": "<script>alert(1)</script>",
    "wildcards": "%_\\/",
    "negative": "-1",
    "words": "x",
    "beyond any integer": "9" * 40,
    "half a surrogate": b"\xed\xa0\x80",
    "not UTF-8": b"\xff",
    **CURSORS,
}


@dataclass(frozen=True, kw_only=True)
class Route:
    """What a route takes. :param of_dag: its address names a DAG, so that it is for those who may read
    that one.
    """

    query: tuple[str, ...] = ()
    of_dag: bool = True
    more: dict[str, str] = field(default_factory=dict)

    def path(self, template: str, **values: str) -> str:
        return "/seedream" + template.format(**{**SOUND, **self.more, **values})


_FILTERS = ("dag", "run", "task", "text", "before")
_OF_TASK = "/{dag_id}/{run_id}/{task_id}/{map_index}"
ROUTES = {
    "/": Route(query=(*_FILTERS, "dag_id"), of_dag=False),
    "/dag/{dag_id}": Route(query=_FILTERS),
    "/asset/{asset_id}": Route(query=("before",), of_dag=False),
    f"/task{_OF_TASK}": Route(query=("start",)),
    f"/image{_OF_TASK}": Route(query=("last", "name")),
    f"/image{_OF_TASK}/{{number}}": Route(query=("name",)),
    f"/image{_OF_TASK}/{{number}}/{{sha256}}": Route(query=("name",)),
    f"/thumb{_OF_TASK}/{{number}}": Route(query=("name",)),
    f"/thumb{_OF_TASK}/{{number}}/{{sha256}}": Route(query=("name",)),
    f"/file{_OF_TASK}/{{number}}": Route(query=("download", "name")),
    f"/file{_OF_TASK}/{{number}}/{{sha256}}": Route(query=("download", "name")),
    "/static/{name}": Route(of_dag=False),
}


def templates(web_server: Any) -> list[str]:
    [mount] = [route for route in web_server.routes if isinstance(route, Mount) and route.path == "/seedream"]
    return [route.path for route in mount.routes]


def cases(template: str, route: Route) -> Iterator[tuple[str, str]]:
    """Every odd address of a route, with a name."""
    for part in re.findall(r"{(\w+)}", template):
        for name, value in ODD_PARTS.items():
            yield f"{part}: {name}", route.path(template, **{part: value})
    for parameter in route.query:
        for name, text in ODD_TEXTS.items():
            yield f"?{parameter}: {name}", f"{route.path(template)}?{urlencode({parameter: text})}"
        yield f"?{parameter}: doubled", f"{route.path(template)}?{parameter}=1&{parameter}=2"
    yield "?unknown parameter", f"{route.path(template)}?nonsense=1&nonsense=2"


def some_cases(template: str, route: Route) -> Iterator[tuple[str, str]]:
    """Every fifth: of each part and parameter some, and each odd value somewhere. All of them are for
    `slow`.
    """
    yield from islice(cases(template, route), 0, None, 5)


def answer(client: Any, path: str, **headers: str) -> Any:
    got = client.get(path, headers=headers)
    assert got.status_code in (200, 206, 304, 307, 400, 403, 404, 416), (
        got.status_code,
        path[:200],
        got.text[:300],
    )
    assert {name: got.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, path[:200]
    if got.headers.get("content-type", "").startswith("text/html"):
        assert "Traceback" not in got.text
        assert "<script>alert" not in got.text
        assert "This page has failed" not in got.text
    return got


@pytest.fixture
def hashed(landed: dict[str, Any]) -> dict[str, Route]:
    sha256 = landed["images"][0]["sha256"]
    return {
        template: Route(query=route.query, of_dag=route.of_dag, more={"sha256": sha256})
        for template, route in ROUTES.items()
    }


def test_every_route_of_the_app_has_a_row(web_server: Any) -> None:
    assert sorted(templates(web_server)) == sorted(ROUTES)


@pytest.fixture(params=[some_cases, pytest.param(cases, marks=pytest.mark.slow)], ids=["some", "all"])
def odd(request: pytest.FixtureRequest) -> Any:
    """The odd addresses of a route: some of them every day, all of them where there is time."""
    return request.param


@pytest.mark.parametrize("template", ROUTES)
class TestWhoMayNot:
    def test_nobody_is_asked_who_he_is_whatever_the_address(
        self, template: str, visitor: Visitor, hashed: dict[str, Route], odd: Any
    ) -> None:
        route, client = hashed[template], visitor(None)
        assert client.get(route.path(template)).status_code == 401
        for _, path in odd(template, route):
            assert client.get(path).status_code in (401, 404), path[:200]

    def test_a_dag_that_is_not_the_users_answers_as_one_that_does_not_exist(
        self, template: str, visitor: Visitor, hashed: dict[str, Route], odd: Any
    ) -> None:
        route, client = hashed[template], visitor("only-shoes")
        if not route.of_dag:
            assert client.get(route.path(template)).status_code == 200
            return
        there, nowhere = (
            client.get(route.path(template, dag_id=dag_id)) for dag_id in ("watches", "nowhere")
        )
        assert (there.status_code, nowhere.status_code) == (403, 403)
        assert there.text.replace("watches", "nowhere") == nowhere.text
        for _, path in odd(template, route):
            got = answer(client, path)
            assert "leather" not in got.text
            assert not got.headers.get("content-type", "").startswith("image/")

    def test_a_task_of_another_dag_than_the_addresss_is_not_shown_by_it(
        self, template: str, visitor: Visitor, hashed: dict[str, Route]
    ) -> None:
        if "{run_id}" in template:
            got = answer(visitor("only-shoes"), hashed[template].path(template, dag_id="shoes"))
            assert "leather" not in got.text
            assert got.status_code in (200, 404)


@pytest.mark.parametrize("template", ROUTES)
class TestOddValues:
    def test_none_of_them_is_an_error_of_the_server(
        self, template: str, visitor: Visitor, hashed: dict[str, Route], odd: Any
    ) -> None:
        route, client = hashed[template], visitor("admin")
        assert client.get(route.path(template)).status_code == 200
        for _, path in odd(template, route):
            answer(client, path)

    def test_odd_headers_are_no_error_either(
        self, template: str, visitor: Visitor, hashed: dict[str, Route]
    ) -> None:
        path, client = hashed[template].path(template), visitor("admin")
        for headers in (
            {"If-None-Match": '*, "x, W/' + "y" * 5000},
            {"Range": "bytes=-1--1"},
            {"Sec-Fetch-Dest": "document" * 100},
            {"Accept": "application/json"},
            {"X-Forwarded-Prefix": "//elsewhere"},
        ):
            answer(client, path, **headers)


@pytest.mark.slow
def test_postgresql_takes_none_of_them_for_an_error_either(
    tmp_path_factory: pytest.TempPathFactory, roots: Path
) -> None:
    """It refuses NUL in texts and numbers beyond its integers, which SQLite takes."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    value = land(roots / "watches", WATCHES)
    with (
        postgres(binaries) as url,
        airflow_tables(url, passwords=tmp_path_factory.mktemp("auth") / "passwords.json"),
    ):
        put([xcom(WATCHES, "return_value", value, 1), xcom(WATCHES, LINK_KEY, "x", 1)])
        client = TestClient(create_app(apps="core"), cookies=cookies_of("admin"), follow_redirects=False)
        sha256 = value["images"][0]["sha256"]
        for template, route in ROUTES.items():
            known = Route(query=route.query, more={"sha256": sha256})
            assert client.get(known.path(template)).status_code == 200
            for _, path in cases(template, known):
                answer(client, path)
