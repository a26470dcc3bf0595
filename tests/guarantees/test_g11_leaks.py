"""G11: nothing leaks. The key goes to the API host alone, links nowhere, and a refused target is never
contacted.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.emulator.settings import ErrorShape
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, Connect, images
from tests.guarantees.whole import read_files, served_bytes
from tests.guarantees.witness import Witness

KEY = "sk-CanaryKey-7f3A9b2C4d5E6f70"
PROMPT = "a canary watch, canary-prompt-4711"
QUERY = "canary-query-0815"
LINK_PARTS = ("X-Amz-", "x-amz-", "seedream-results/", QUERY)


@pytest.fixture
def tls() -> bool:
    """Users speak https, so this guarantee is shown over it, but where links lead to other servers."""
    return True


@pytest.fixture
def emulator(connect: Connect, tls: bool) -> Iterator[Emulator]:
    """The usual one, with a key that is easy to recognise."""
    with Emulator(
        Settings.fast(tls=tls, key=KEY, seconds_per_image=0.1, late_assets_seconds=0.05)
    ) as running:
        connect(running)
        yield running


@pytest.fixture(autouse=True)
def debug_logs() -> Iterator[None]:
    """What users switch on when they look for trouble: every library tells everything."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in ("urllib3", "aiohttp", "asyncio"))]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def traces(runner: Runner, outcomes: list[Outcome], folder: Path) -> dict[str, str]:
    """Everything that is kept or shown of a run, by place."""
    errors = [error for outcome in outcomes for error in outcome.errors]
    found = {
        "XComs": json.dumps([[*map(str, key), value] for key, value in runner.api.xcoms.items()]),
        "task state": json.dumps([[str(key), value] for key, value in runner.api.task_store.items()]),
        "reports to the server": json.dumps(
            [step.report for outcome in outcomes for step in outcome.steps], default=str
        ),
        "trigger rows": "\n".join(deferral.row for outcome in outcomes for deferral in outcome.deferrals),
        "next_kwargs": json.dumps(
            [deferral.next_kwargs for outcome in outcomes for deferral in outcome.deferrals], default=str
        ),
        "events": "\n".join(deferral.event or "" for outcome in outcomes for deferral in outcome.deferrals),
        "logs": "\n".join(outcome.log_text for outcome in outcomes),
        "error texts": "\n".join(f"{error} {error!r} {vars(error)}" for error in errors),
        "tracebacks": "\n".join("".join(traceback.format_exception(error)) for error in errors),
    }
    for path in folder.rglob("*.json"):
        found[str(path.relative_to(folder))] = path.read_text()
    for outcome in outcomes:
        found[f"rendered fields {outcome.steps[0].method} {id(outcome)}"] = json.dumps(
            outcome.rendered_fields
        )
    return {place: text for place, text in found.items() if text}


def places_with(found: dict[str, str], *needles: str) -> list[str]:
    return sorted(
        {place for place, text in found.items() for needle in needles if needle.lower() in text.lower()}
    )


def assert_no_key_and_no_link(found: dict[str, str], emulator: Emulator) -> None:
    assert places_with(found, KEY, KEY[:12]) == []
    assert places_with(found, *LINK_PARTS) == []
    assert emulator.books.key_leaks == ()
    assert emulator.books.violations == ()


class TestNothingOfARunHoldsTheKeyOrALink:
    @pytest.mark.parametrize("wait", [True, False], ids=["one task", "two tasks"])
    def test_nothing_of_a_run_that_went_well_holds_the_key_or_a_link(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, wait: bool
    ) -> None:
        chain = build(
            prompt=PROMPT, submit={"wait": wait, "deferrable": deferrable}, land={"deferrable": deferrable}
        )
        runner = Runner()
        outcomes = [runner.run(chain.submit)] + ([] if wait else [runner.run(chain.land)])
        assert outcomes[-1].state == "success"
        found = traces(runner, outcomes, folder)
        assert_no_key_and_no_link(found, emulator)
        rendered = [place for place in found if place.startswith("rendered fields")][:1]
        kept = [str(path.relative_to(folder)) for path in folder.rglob("*.json") if "names" not in path.parts]
        assert places_with(found, "canary-prompt") == sorted([*rendered, *kept])  # where the user wants it
        assert len(kept) == 2

    @pytest.mark.parametrize(
        ("kind", "details"),
        [
            ("truncated", {}),
            ("drop", {"endpoint": "download"}),
            ("refuse", {"endpoint": "download", "status": 500, "message": "no"}),
            ("expired-link", {}),
            ("not-an-image", {}),
            ("redirect", {"url": f"http://10.0.0.1/x?token={QUERY}"}),
            ("redirect", {"url": f"file:///etc/passwd?{QUERY}"}),
            ("redirect", {"url": f"http://user:{QUERY}@127.0.0.1:9/"}),
            ("redirect", {"url": f"http://[half/?{QUERY}"}),
            ("redirect", {"url": f"http://127.0.0.1:9/?{QUERY}"}),
        ],
        ids=str,
    )
    def test_nothing_of_a_run_whose_downloads_failed_holds_the_key_or_a_link(
        self, emulator: Emulator, build: Build, folder: Path, kind: str, details: dict[str, Any]
    ) -> None:
        chain = build(prompt=PROMPT, land={"deferrable": True})
        emulator.inject(kind, **details)
        runner = Runner()
        outcomes = [runner.run(chain.submit), runner.run(chain.land)]
        assert (outcomes[1].state, type(outcomes[1].error).__name__) == ("failed", "SeedreamLandingError")
        assert_no_key_and_no_link(traces(runner, outcomes, folder), emulator)
        assert images(folder) == []

    def test_nothing_of_a_run_whose_failure_reason_holds_a_link_repeats_it(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        emulator.inject(
            "fail", message=f"worker lost https://store.example/in.png?X-Amz-Signature={QUERY} while drawing"
        )
        chain = build(prompt=PROMPT, land={"deferrable": deferrable})
        runner = Runner()
        outcomes = [runner.run(chain.submit), runner.run(chain.land)]
        assert outcomes[1].state == "failed"
        found = traces(runner, outcomes, folder)
        assert_no_key_and_no_link(found, emulator)
        assert "https://store.example/in.png?..." in found["error texts"]


class TestAServerThatEchoesTheKey:
    @pytest.mark.parametrize("shape", get_args(ErrorShape))
    @pytest.mark.parametrize("lead", [0, 270, 290], ids=lambda lead: f"after {lead} characters")
    def test_a_key_that_a_server_echoes_in_a_refused_post_is_not_repeated(
        self, emulator: Emulator, build: Build, folder: Path, shape: ErrorShape, lead: int
    ) -> None:
        echo = f"{'x' * lead} Authorization 'Bearer {KEY}' is not valid."
        emulator.inject("refuse", status=401, shape=shape, message=echo, code=f"bad_{KEY}")
        runner = Runner()
        outcome = runner.run(build(prompt=PROMPT).submit)
        assert type(outcome.error).__name__ == "SeedreamAuthenticationError"
        assert_no_key_and_no_link(traces(runner, [outcome], folder), emulator)

    @pytest.mark.parametrize("word", ["echo-key", "submit/echo-key"])
    def test_a_key_that_a_server_echoes_by_a_magic_word_is_not_repeated(
        self, emulator: Emulator, build: Build, folder: Path, word: str
    ) -> None:
        runner = Runner()
        outcome = runner.run(build(prompt=f"{PROMPT} [{word}]").submit)
        assert outcome.state == "failed"
        assert_no_key_and_no_link(traces(runner, [outcome], folder), emulator)

    @pytest.mark.parametrize("status", [401, 404, 429, 500])
    def test_a_key_that_a_server_echoes_in_a_status_answer_is_not_repeated(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, status: int
    ) -> None:
        chain = build(prompt=PROMPT, land={"deferrable": deferrable})
        runner = Runner()
        submitted = runner.run(chain.submit)
        emulator.inject("refuse", endpoint="status", status=status, message=f"Who is {KEY}?", times=3)
        landed = runner.run(chain.land)
        assert landed.state == ("failed" if status in (401, 404) else "success")
        assert_no_key_and_no_link(traces(runner, [submitted, landed], folder), emulator)

    def test_a_key_that_a_server_echoes_in_a_failure_reason_is_not_repeated(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        emulator.inject("fail", message=f"The account of {KEY} is tired.")
        chain = build(prompt=PROMPT, land={"deferrable": deferrable})
        runner = Runner()
        outcomes = [runner.run(chain.submit), runner.run(chain.land)]
        assert outcomes[1].state == "failed"
        assert_no_key_and_no_link(traces(runner, outcomes, folder), emulator)

    def test_a_key_that_a_server_echoes_at_the_wallet_is_not_repeated(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        emulator.inject("echo-key", endpoint="wallet")
        works, text = SeedreamHook().test_connection()
        assert not works
        assert KEY.lower() not in text.lower()
        runner = Runner()
        outcome = runner.run(build(prompt=PROMPT).submit)
        assert outcome.state == "success"
        assert_no_key_and_no_link(traces(runner, [outcome], folder), emulator)


class TestADownloadThatIsSentElsewhere:
    @pytest.fixture
    def tls(self) -> bool:
        return False  # the other servers speak http

    def test_a_download_that_is_sent_to_another_host_takes_no_key_along(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(prompt=PROMPT, land={"deferrable": deferrable})
        runner = Runner()
        submitted = runner.run(chain.submit)
        emulator.configure(seconds_per_image=0)
        emulator.clock.advance(10)
        (image,) = served_bytes(emulator, submitted.value["seedream_task_id"])
        with Witness(image) as other:
            emulator.inject("redirect", url=f"{other.url}/image.png")
            landed = runner.run(chain.land)
        assert landed.state == "success"
        (contact,) = other.contacts
        assert not {"authorization", "referer", "cookie"} & {name.lower() for name in contact.headers}
        assert KEY not in str(contact)
        assert [(folder / name).read_bytes() for name in images(folder)] == [image]

    @pytest.mark.parametrize(
        "target",
        [
            "http://0.0.0.0:{port}/",
            "http://[::]:{port}/",
            "file:///etc/hostname",
            "ftp://127.0.0.1:{port}/",
            "gopher://127.0.0.1:{port}/",
            "data:image/png;base64,AAAA",
            "http://user:pass@127.0.0.1:{port}/",
            "//0.0.0.0:{port}/",
        ],
    )
    def test_a_download_that_is_sent_to_what_is_no_plain_public_link_is_refused_before_contact(
        self, emulator: Emulator, build: Build, folder: Path, target: str
    ) -> None:
        with Witness(b"never") as other:
            emulator.inject("redirect", url=target.format(port=other.port))
            runner = Runner()
            chain = build(prompt=PROMPT)
            runner.run(chain.submit)
            outcome = runner.run(chain.land)
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamLandingError")
        assert "refused" in str(outcome.error)
        assert other.contacts == []
        assert emulator.books.downloads == 1  # refused for good: asked once
        assert read_files(folder) == {}

    @pytest.mark.parametrize(
        "host",
        [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
            "167772161",
            "0x0a000001",
            "10.1",
            "012.0.0.1",
        ],
    )
    def test_a_download_that_is_sent_to_a_private_address_is_refused_whatever_its_spelling(
        self, emulator: Emulator, build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        with Witness(b"never") as proxy:  # whatever left for such an address would pass here
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            emulator.inject("redirect", url=f"http://{host}/latest/meta-data")
            runner = Runner()
            chain = build(prompt=PROMPT)
            runner.run(chain.submit)
            outcome = runner.run(chain.land)
        assert type(outcome.error).__name__ == "SeedreamLandingError"
        assert "no public address: refused" in str(outcome.error)
        assert proxy.contacts == []

    @pytest.mark.parametrize("target", ["http://0.0.0.0:{port}/t.png", "file:///etc/hostname"])
    def test_a_download_of_a_thumbnail_that_is_sent_elsewhere_is_refused_too_and_the_image_lands(
        self, emulator: Emulator, build: Build, folder: Path, target: str
    ) -> None:
        with Witness(b"never") as other:
            emulator.inject("redirect", endpoint="thumbnail", url=target.format(port=other.port))
            runner = Runner()
            chain = build(name="hero")
            runner.run(chain.submit)
            assert runner.run(chain.land).state == "success"
        assert other.contacts == []
        assert sorted(read_files(folder)) == ["hero.json", "hero_1.png"]


class TestLinksInAStatusAnswer:
    """The API itself sends the worker somewhere."""

    @pytest.fixture
    def api(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
        with Witness() as api:
            connection = {"conn_type": "seedream", "host": api.url, "password": KEY}
            monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
            yield api

    def land(self, api: Witness, link: str, destination: str) -> Outcome:
        status = {
            "status": "FINISHED",
            "results": [{"asset": link, "asset_url": None}],
            "failure_reason": None,
        }
        api.bodies["/v1/generation-request/abc/status/"] = json.dumps(status).encode()
        with DAG("rescue", schedule=None):
            task = SeedreamGenerationSensor(
                task_id="land",
                generation="abc",
                destination=destination,
                settling_seconds=0.1,
                poke_interval=0.05,
                timeout=5,
            )
        return Runner().run(task)

    @pytest.mark.parametrize(
        "link", ["http://10.0.0.1/a.png", "http://0.0.0.0:{port}/a.png", "http://u:p@127.0.0.1:{port}/a.png"]
    )
    def test_links_in_a_status_answer_to_what_is_not_public_are_refused_before_contact(
        self, api: Witness, folder: Path, destination: str, link: str
    ) -> None:
        with Witness(b"never") as other:
            outcome = self.land(api, link.format(port=other.port), destination)
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamLandingError")
        assert other.contacts == []
        assert not folder.exists()

    @pytest.mark.parametrize(
        "link", ["file:///etc/hostname", "ftp://127.0.0.1/a.png", "data:image/png;base64,AA==", "/a.png"]
    )
    def test_links_in_a_status_answer_that_are_no_http_links_are_no_links(
        self, api: Witness, folder: Path, destination: str, link: str
    ) -> None:
        outcome = self.land(api, link, destination)
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamPollingError")
        assert {contact.target for contact in api.contacts} == {"/v1/generation-request/abc/status/"}
        assert not folder.exists()


class TestTheWorkersOwnNetwork:
    @pytest.fixture
    def tls(self) -> bool:
        return False  # the other servers speak http

    @pytest.fixture
    def elsewhere(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
        """The API at a public name, behind a proxy; its links lead to this machine."""
        with Witness(forwards_to=emulator.url) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            yield proxy

    def land(self, build: Build, monkeypatch: pytest.MonkeyPatch, deferrable: bool, **extra: Any) -> Outcome:
        connection = {
            "conn_type": "seedream",
            "host": "http://api.seedream.example",
            "password": KEY,
            "extra": extra,
        }
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        chain = build(prompt=PROMPT, land={"deferrable": deferrable})
        runner = Runner()
        assert runner.run(chain.submit).state == "success"
        return runner.run(chain.land)

    def test_the_workers_own_network_is_out_of_reach_when_the_api_is_not_on_it(
        self,
        elsewhere: Witness,
        emulator: Emulator,
        build: Build,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        deferrable: bool,
    ) -> None:
        outcome = self.land(build, monkeypatch, deferrable)
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamLandingError")
        assert "127.0.0.1, which is no public address: refused" in str(outcome.error)
        assert "download_networks, for example '127.0.0.1/32'" in str(outcome.error)
        assert (emulator.books.posts, emulator.books.downloads) == (1, 0)
        assert {contact.headers["Host"] for contact in elsewhere.contacts} == {"api.seedream.example"}
        assert read_files(folder) == {}

    @pytest.mark.usefixtures("elsewhere")
    def test_the_workers_own_network_is_reached_where_the_connection_names_it(
        self,
        emulator: Emulator,
        build: Build,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        deferrable: bool,
    ) -> None:
        outcome = self.land(build, monkeypatch, deferrable, download_networks="127.0.0.0/8")
        assert (outcome.state, len(images(folder)), emulator.books.posts) == ("success", 1, 1)

    def test_a_netrc_of_the_user_is_left_alone(
        self,
        emulator: Emulator,
        build: Build,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        deferrable: bool,
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("default login somebody password canary-netrc\n")
        monkeypatch.setenv("NETRC", str(netrc))
        chain = build(prompt=PROMPT, land={"deferrable": deferrable})
        runner = Runner()
        outcomes = [runner.run(chain.submit), runner.run(chain.land)]
        assert outcomes[1].state == "success"
        assert {request.authorized for request in emulator.books.requests if request.origin == "api"} == {
            True
        }
        stored = [request for request in emulator.books.requests if request.origin == "storage"]
        assert not any("authorization" in request.header_names for request in stored)
        assert_no_key_and_no_link(traces(runner, outcomes, folder), emulator)


def test_no_object_shows_the_key_or_a_link_in_its_repr(emulator: Emulator, build: Build) -> None:
    hook = SeedreamHook()
    task_id = Runner().run(build().submit).value["seedream_task_id"]
    emulator.clock.advance(10)
    shown = (
        repr(hook.settings) + repr(hook) + repr(hook.get_generation(task_id)) + repr(hook.get_conn().headers)
    )
    assert KEY not in shown
    assert "X-Amz-" not in shown
