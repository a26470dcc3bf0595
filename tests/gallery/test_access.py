"""Who gets what, over every route; and every way found to make the gallery read what its user may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import airflow
import pytest
from packaging.version import Version
from starlette.routing import Mount

from airflow_provider_seedream.gallery.roots import is_below
from airflow_provider_seedream.gallery.shell import SECURITY_HEADERS
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import Database, land, picture

SHOES = TaskRef(dag_id="shoes", run_id="manual__1", task_id="land")
OF_WATCHES = [
    WATCHES.address(page, number)
    for page, number in (("task", None), ("image", None), ("image", 1), ("thumb", 1), ("file", 1))
]
OPEN = ["seedream/", "seedream/static/gallery.css", "seedream/static/gallery.js", "seedream/static/icon.svg"]


def routes(web_server: Any) -> list[str]:
    """Every route of the gallery, with values for its parameters."""
    [mount] = [route for route in web_server.routes if isinstance(route, Mount) and route.path == "/seedream"]
    values = {
        "dag_id": "watches",
        "run_id": "manual__1",
        "task_id": "land",
        "map_index": "-1",
        "number": "1",
        "sha256": "0" * 64,
        "name": "gallery.css",
        "asset_id": "1",
    }
    return [f"/seedream{route.path.format(**values)}" for route in mount.routes]


class TestTheMatrix:
    def test_nobody_gets_401_on_each_route(
        self, visitor: Visitor, landed: dict[str, Any], web_server: Any
    ) -> None:
        paths = routes(web_server)
        assert len(paths) == 12
        assert {path: visitor(None).get(path).status_code for path in paths} == dict.fromkeys(paths, 401)

    def test_no_route_takes_anything_but_get(
        self, visitor: Visitor, landed: dict[str, Any], web_server: Any
    ) -> None:
        for path in routes(web_server):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                assert visitor("admin").request(method, path).status_code == 405, (method, path)

    def test_there_is_no_schema_and_no_documentation(self, visitor: Visitor) -> None:
        for name in ("docs", "redoc", "openapi.json"):
            assert visitor("admin").get(f"/seedream/{name}").status_code == 404

    @pytest.mark.parametrize("user", ["viewer", "editor", "admin", "only-watches"])
    def test_whoever_may_read_the_dag_gets_its_images(
        self, user: str, visitor: Visitor, landed: dict[str, Any]
    ) -> None:
        for path in [*OPEN, "seedream/dag/watches", *OF_WATCHES]:
            assert visitor(user).get(f"/{path}").status_code == 200, path
        assert visitor(user).get("/seedream/").text.count('<article class="card') == 1

    @pytest.mark.parametrize("user", ["only-shoes", "no-xcoms"])
    def test_whoever_may_not_gets_403_and_an_index_without_them(
        self, user: str, visitor: Visitor, landed: dict[str, Any]
    ) -> None:
        for path in ["seedream/dag/watches", *OF_WATCHES]:
            assert visitor(user).get(f"/{path}").status_code == 403, path
        for path in ("", "?dag=watches", "?dag_id=watches", "?text=leather"):
            page = visitor(user).get(f"/seedream/{path}")
            assert (page.status_code, '<article class="card' in page.text, "leather watch" in page.text) == (
                200,
                False,
                False,
            )

    def test_the_names_of_dags_that_one_may_not_read_are_not_offered(
        self, visitor: Visitor, landed: dict[str, Any], database: Database
    ) -> None:
        database.returned(SHOES, None)
        assert "<option>watches</option>" in visitor("admin").get("/seedream/").text
        assert "<option>watches</option>" not in visitor("only-shoes").get("/seedream/").text

    def test_a_tilde_does_not_stand_for_every_dag(self, visitor: Visitor, landed: dict[str, Any]) -> None:
        assert '<article class="card' not in visitor("admin").get("/seedream/dag/~").text

    @pytest.mark.parametrize("run_id", ["manual__2026-03-01T00:00:00+00:00", "a b", "\u00e9?#"])
    def test_an_address_opened_by_itself_goes_on_within_airflows_page(
        self, run_id: str, visitor: Visitor
    ) -> None:
        path = TaskRef(dag_id="watches", run_id=run_id, task_id="land").address("task")
        answer = visitor("viewer").get(f"/{path}", headers={"Sec-Fetch-Dest": "document"})
        if Version(airflow.__version__) >= Version("3.3.2"):
            assert (answer.status_code, answer.headers["location"]) == (307, f"/plugin/seedream/{path}")
        else:
            assert answer.status_code == 200

    def test_line_breaks_in_an_address_reach_no_header(self, visitor: Visitor) -> None:
        path = TaskRef(dag_id="watches", run_id="x\r\nSet-Cookie: a=b", task_id="land").address("task")
        answer = visitor("viewer").get(f"/{path}", headers={"Sec-Fetch-Dest": "document"})
        assert answer.status_code in (200, 307, 404)
        assert "a" not in answer.cookies

    def test_nobody_is_led_to_airflows_page_which_asks_who_he_is(self, visitor: Visitor) -> None:
        answer = visitor(None).get("/seedream/", headers={"Sec-Fetch-Dest": "document"})
        assert (answer.status_code, answer.headers["location"].startswith("/plugin/seedream")) == (307, True)

    def test_errors_are_pages(self, visitor: Visitor, landed: dict[str, Any]) -> None:
        for user, path in (
            (None, "/seedream/"),
            ("only-shoes", "/seedream/dag/watches"),
            ("admin", "/seedream/nowhere"),
        ):
            answer = visitor(user).get(path)
            assert answer.status_code in (401, 403, 404)
            assert answer.headers["content-type"].startswith("text/html")


class TestHeaders:
    def test_every_answer_has_them(self, visitor: Visitor, landed: dict[str, Any], web_server: Any) -> None:
        for user in (None, "viewer"):
            for path in [*routes(web_server), "/seedream/nowhere"]:
                headers = visitor(user).get(path).headers
                assert {name: headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, path

    def test_images_are_private_and_known_by_their_hash(
        self, visitor: Visitor, landed: dict[str, Any]
    ) -> None:
        path = f"/{WATCHES.address('file', 1)}"
        first = visitor("viewer").get(path)
        assert first.headers["etag"] == f'"{landed["images"][0]["sha256"]}"'
        assert first.headers["cache-control"].startswith("private")
        again = visitor("viewer").get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    def test_nobody_gets_no_304_either(self, visitor: Visitor, landed: dict[str, Any]) -> None:
        etag = f'"{landed["images"][0]["sha256"]}"'
        assert (
            visitor(None).get(f"/{WATCHES.address('file', 1)}", headers={"If-None-Match": etag}).status_code
            == 401
        )


class TestConfusedDeputies:
    """An XCom can be edited by whoever may edit its DAG's; the web server's credentials must not work for
    him.
    """

    def refused(self, visitor: Visitor, user: str = "only-watches") -> str:
        """No bytes by any route; the text of the index."""
        for page in ("thumb", "file"):
            assert visitor(user).get(f"/{WATCHES.address(page, 1)}").status_code == 404  # type: ignore[arg-type]
        index = visitor(user).get("/seedream/").text
        assert "<img" not in index
        return index

    def test_an_xcom_that_points_to_another_dags_manifest_shows_nothing(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, land(roots / "secret", SHOES, prompt="next year's shoes"))
        assert "next year" not in self.refused(visitor)
        page = visitor("only-watches").get(f"/{WATCHES.address('image', 1)}")
        assert "next year" not in page.text

    def test_another_dags_images_are_not_found_by_a_search_either(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, land(roots / "secret", SHOES, prompt="next year's shoes"))
        assert '<article class="card' not in visitor("only-watches").get("/seedream/?text=shoes").text

    def test_images_of_another_run_are_shown_here_and_said_to_be_that_runs(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        earlier = TaskRef(dag_id="watches", run_id="manual__0", task_id="land")
        value = land(roots / "watches", earlier)
        database.returned(WATCHES, value)
        page = visitor("admin").get(f"/{WATCHES.address('image', 1)}").text
        address = WATCHES.address("file", 1, sha256=value["images"][0]["sha256"])
        assert f"/{address}" in page
        assert "landed by" in page
        assert visitor("admin").get(f"/{address}").content == (roots / "watches" / "hero_1.png").read_bytes()

    @pytest.mark.parametrize(
        "spelling",
        [
            "{outside}/hero.json",
            "{root}/../private/hero.json",
            "{root}/./../private/hero.json",
            "{root}//../private/hero.json",
            "{root}/%2e%2e/private/hero.json",
            "{root}/..\\private/hero.json",
            "{root}x/hero.json",
            "{root}#/../../private/hero.json",
            "{root}?/../private/hero.json",
            "{root}/a::{outside}/hero.json",
            "simplecache::{outside}/hero.json",
            "{outside_path}/hero.json",
            "file://localhost{outside_path}/hero.json",
            "http://127.0.0.1:9/hero.json",
            "s3://aws_default@bucket/hero.json",
            "~/hero.json",
            "hero.json",
            "",
        ],
    )
    def test_a_manifest_outside_the_roots_is_not_read(
        self, spelling: str, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        private = roots.parent / "private"
        value = land(private, WATCHES)
        land(roots.parent / f"{roots.name}x", WATCHES)
        words = {"root": roots.as_uri(), "outside": private.as_uri(), "outside_path": str(private)}
        database.returned(WATCHES, {**value, "manifest": spelling.format(**words)})
        self.refused(visitor)

    @pytest.mark.parametrize("field", ["file", "thumbnail"])
    @pytest.mark.parametrize(
        "name", ["../private.png", "/etc/hostname", "a/b.png", "..", "", "file:///etc/hostname", "b\\c.png"]
    )
    def test_a_manifest_whose_file_names_are_paths_is_none(
        self, field: str, name: str, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        (roots / "private.png").write_bytes(picture(16, 16, "private"))
        value = land(roots / "watches", WATCHES)
        edit(roots / "watches" / "hero.json", lambda fields: fields["images"][0].update({field: name}))
        database.returned(WATCHES, value)
        self.refused(visitor)

    @pytest.mark.parametrize("number", ["-1", "0", "3", "x", "99999999999999999999"])
    def test_a_number_that_no_image_has_gets_nothing(
        self, number: str, visitor: Visitor, landed: dict[str, Any]
    ) -> None:
        for page in ("image", "thumb", "file"):
            path = WATCHES.address(page).rstrip("/")  # type: ignore[arg-type]
            assert visitor("admin").get(f"/{path}/{number}").status_code == 404

    def test_a_manifest_of_another_generation_is_not_believed(
        self, visitor: Visitor, landed: dict[str, Any], database: Database
    ) -> None:
        database.returned(WATCHES, {**landed, "seedream_task_id": "another"})
        self.refused(visitor)

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "text",
            7,
            [],
            {},
            {"schema_version": 1, "manifest": None},
            {
                "schema_version": 1,
                "seedream_task_id": ["x"],
                "manifest": {"a": 1},
                "images": [],
                "credits": None,
            },
            {"schema_version": 99, "seedream_task_id": "x", "manifest": "y", "images": [], "credits": None},
            {"schema_version": 1, "results": "s3://bucket/results.jsonl"},
        ],
    )
    def test_a_value_that_is_none_of_ours_breaks_nothing(
        self, value: Any, visitor: Visitor, database: Database
    ) -> None:
        database.returned(WATCHES, value)
        self.refused(visitor)

    def test_a_value_that_the_api_wrote_as_text_is_understood(
        self, visitor: Visitor, landed: dict[str, Any], database: Database
    ) -> None:
        """Airflow's own endpoint for editing XComs stores JSON within JSON."""
        database.returned(WATCHES, json.dumps(landed))
        assert visitor("viewer").get(f"/{WATCHES.address('file', 1)}").status_code == 200

    @pytest.mark.parametrize(
        "change",
        [
            {"images": []},
            {"name": "other"},
            {"submission": "text"},
            {"landed_by": None},
            {"landed_by": {"dag_id": "watches"}},
            {"landed_by": {"dag_id": 1, "run_id": 2, "task_id": 3, "map_index": "x"}},
            {"images_landed": 7},
            {"schema_version": 2},
        ],
    )
    def test_a_manifest_that_is_none_breaks_nothing(
        self, change: dict[str, Any], visitor: Visitor, landed: dict[str, Any], roots: Path
    ) -> None:
        edit(roots / "watches" / "hero.json", lambda fields: fields.update(change))
        self.refused(visitor)


class TestBytes:
    @pytest.mark.parametrize(
        "data",
        [
            b"<html><script>alert(1)</script></html>",
            b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
            b"GIF89a<script>",
            b"%PDF-1.7",
            b"\x89PNG\r\n\x1a\n",
            b"",
        ],
    )
    def test_what_is_no_image_by_its_bytes_is_not_served(
        self, data: bytes, visitor: Visitor, landed: dict[str, Any], roots: Path
    ) -> None:
        for name in ("hero_1.png", "hero_1.thumb.png"):
            (roots / "watches" / name).write_bytes(data)
        for page in ("thumb", "file"):
            assert visitor("admin").get(f"/{WATCHES.address(page, 1)}").status_code == 404  # type: ignore[arg-type]

    def test_the_type_is_that_of_the_bytes_whatever_the_manifest_says(
        self, visitor: Visitor, landed: dict[str, Any], roots: Path
    ) -> None:
        edit(
            roots / "watches" / "hero.json", lambda fields: fields["images"][0].update(media_type="text/html")
        )
        assert visitor("admin").get(f"/{WATCHES.address('file', 1)}").headers["content-type"] == "image/png"

    def test_a_download_has_the_files_name_and_its_very_bytes(
        self, visitor: Visitor, landed: dict[str, Any], roots: Path
    ) -> None:
        answer = visitor("viewer").get(f"/{WATCHES.address('file', 1)}?download=true")
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''hero_1.png"
        assert answer.content == (roots / "watches" / "hero_1.png").read_bytes()

    def test_without_a_thumbnail_the_image_stands_in(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, land(roots / "watches", WATCHES, thumbnails=False))
        answer = visitor("viewer").get(f"/{WATCHES.address('thumb', 2)}")
        assert answer.content == (roots / "watches" / "hero_2.png").read_bytes()

    def test_a_manifest_larger_than_any_of_ours_is_not_read(
        self, visitor: Visitor, landed: dict[str, Any], roots: Path
    ) -> None:
        edit(
            roots / "watches" / "hero.json", lambda fields: fields["submission"].update(prompt="x" * 300_000)
        )
        assert "too large" in visitor("viewer").get("/seedream/").text


class TestSwitchedOff:
    @pytest.mark.parametrize("roots_setting", ["", " , ", "\n"])
    def test_without_roots_no_bytes_are_served_and_the_page_says_how_to_change_that(
        self, roots_setting: str, visitor: Visitor, landed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_ROOTS", roots_setting)
        for page in ("thumb", "file"):
            assert visitor("admin").get(f"/{WATCHES.address(page, 1)}").status_code == 404  # type: ignore[arg-type]
        text = visitor("admin").get("/seedream/").text
        assert "gallery_roots" in text
        assert "<img" not in text


def edit(manifest: Path, change: Any) -> None:
    fields = json.loads(manifest.read_text())
    change(fields)
    manifest.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("uri", "is_served"),
    [
        ("s3://c@bucket/watch #1/hero.json", True),
        ("s3://c@bucket/watch #1/a#b/hero.json", True),
        ("s3://c@bucket/watch#/hero.json", False),
        ("s3://c@bucket/watch #1/../hero.json", False),
        ("s3://c@bucket/watch #1/hero.json#", False),
        ("s3://c@bucket/watch?1/hero.json", False),
    ],
)
def test_a_number_sign_is_a_letter_of_a_folder_but_at_its_end(uri: str, is_served: bool) -> None:
    assert is_below(uri, ("s3://c@bucket",)) == is_served
