"""A real Airflow with images in it, and a real Chromium that looks at them. Needs Debian's ``chromium``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.airflow.asking import asker_has_ended
from tests.gallery.stage import Database, land
from tools.local_airflow import LocalAirflow
from tools.processes import Child, free_port, wait_until

if TYPE_CHECKING:  # the tests of the default run do without it
    from playwright.sync_api import Browser, FrameLocator, Page, Playwright, Response

EXAMPLES = Path(__file__).parents[2] / "example_dags"
DAGS = ("example_seedream_generate", "example_seedream_approval")
NIGHT = "example_seedream_night"
NIGHTS_TABLE = (
    {"sku": "W-100", "product": "leather watch", "background": "a wet stone", "num_images": 3},
    {"sku": "R-200", "product": "canvas rucksack", "background": "moss"},
    {"sku": "B-300", "product": "garden bench", "background": "gravel [fail]"},
    {"sku": "T-400", "product": "ceramic teapot", "background": "linen", "notes": "the spout to the left"},
    {"sku": "S-500", "product": "wool scarf", "background": "a red door"},
    # over the budget
    {"sku": "L-600", "product": "lighthouse", "background": "a stormy sea", "num_images": 3},
)
AGAIN = "again"  # its prompt comes from a Variable, so a person can change it between two tries
SAMPLED = "sampled"  # a batch that asks a person about its sample
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
THINGS = (
    "leather watch",
    "canvas rucksack",
    "pair of walking boots",
    "garden bench",
    "ceramic teapot",
    "wool scarf",
    "lighthouse",
)
SIZES = ((288, 162), (192, 256), (256, 256), (256, 192))


@dataclass(slots=True, kw_only=True)
class Site:
    """A running Airflow whose gallery has images of real runs and, older, 200 more.

    :param approval: the run id of a run that waits for a person.
    """

    airflow: LocalAirflow
    output: Path
    base_url: str
    emulator: Emulator
    approval: str = ""

    @property
    def token(self) -> str:
        return str(self.airflow._login())


@dataclass(slots=True, kw_only=True)
class Visit:
    """One page of a browser, and what went wrong on it."""

    page: Page
    site: Site
    problems: list[str] = field(default_factory=list)

    def open(self, path: str = "plugin/seedream") -> FrameLocator:
        self.page.goto(f"{self.site.base_url}/{path}")
        nav = self.frame.locator("nav")
        nav.wait_for(timeout=120_000)
        # Nor has its script run, which gives the page Airflow's theme and direction.
        self.frame.locator("html.framed").wait_for(timeout=120_000)
        # The page's text can be there before its style sheet, and a test may read a style at once.
        loaded = "() => [...document.querySelectorAll('link[rel=stylesheet]')].every(link => link.sheet)"
        wait_until(lambda: nav.evaluate(loaded), what="the style sheet of the page", timeout_seconds=120)
        return self.frame

    @property
    def frame(self) -> FrameLocator:
        return self.page.frame_locator("iframe")

    def wait_for_images(self, place: Any = None) -> int:
        """Until all images that are in sight are drawn; how many there are."""
        script = """images => { const near = images.filter(i => i.getBoundingClientRect().top < innerHeight);
            return near.length && near.every(i => i.complete && i.naturalWidth > 0) ? near.length : 0 }"""
        images = (place or self.frame).locator("img")
        return int(wait_until(lambda: images.evaluate_all(script), what="images drawn", timeout_seconds=120))

    def picture(self, name: str) -> None:
        """Keep what it looks like where SEEDREAM_SCREENSHOTS says, for a person to look at."""
        if folder := os.environ.get("SEEDREAM_SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png")


@contextmanager
def visiting(
    browser: Browser,
    site: Site,
    *,
    user: str | None = "admin",
    size: tuple[int, int] = (1280, 800),
    **storage: str,
) -> Iterator[Visit]:
    """A fresh browser profile; `storage` is what Airflow keeps of a person's choices, e.g.
    ``theme="dark"``.
    """
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    if user:
        context.add_cookies([{"name": "_token", "value": site.token, "url": site.base_url}])
    for name, value in storage.items():
        context.add_init_script(f"localStorage.setItem({name!r}, {value!r})")
    context.set_default_timeout(120_000)  # milliseconds, of each step; a busy machine is no reason to fail
    visit = Visit(page=context.new_page(), site=site)
    visit.page.on("console", lambda said: visit.problems.append(said.text) if said.type == "error" else None)
    visit.page.on("pageerror", lambda error: visit.problems.append(str(error)))
    visit.page.on("response", lambda answer: _note(visit, answer))
    try:
        yield visit
    finally:
        context.close()


def _note(visit: Visit, answer: Response) -> None:
    if "/seedream/" in answer.url and answer.status >= 400:
        visit.problems.append(f"{answer.status} {answer.url}")


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)


@contextmanager
def running_site(home: Path) -> Iterator[Site]:
    """Airflow with two example DAGs that have run: one to its end, one until it waits for a person."""
    dags, output = home / "dags", home / "images"
    for folder in (dags, output):
        folder.mkdir(parents=True)
    for name in (*DAGS, NIGHT):
        shutil.copy(EXAMPLES / f"{name}.py", dags)
    for name in (AGAIN, SAMPLED):
        shutil.copy(Path(__file__).with_name("dags") / f"{name}.py", dags)
    settings = {"AIRFLOW__SEEDREAM__GALLERY_ROOTS": output.as_uri()}
    with (
        Emulator(Settings(speed=20, rate_limit_per_minute=600, latency_seconds=(0, 0))) as emulator,
        LocalAirflow(home, dags=dags, settings=settings) as airflow,
    ):
        connection = json.loads(emulator.airflow_connection_json())
        airflow.add_connection(
            "seedream_default", **connection, extra=json.dumps({"destination": output.as_uri()})
        )
        site = Site(airflow=airflow, output=output, base_url=airflow.url, emulator=emulator)
        put_200_images(site)
        site.approval = start_runs(airflow)
        yield site


def start_runs(airflow: LocalAirflow) -> str:
    for name in DAGS:
        airflow.wait(f"{name} parsed", lambda name=name: airflow.has_dag(name), timeout_seconds=120)  # type: ignore[misc]
    generate, approval = (airflow.trigger_dag(name) for name in DAGS)
    airflow.wait("the images landed", lambda: airflow.dag_run_ended(DAGS[0], generate), timeout_seconds=600)
    details = f"dags/{DAGS[1]}/dagRuns/{quote(approval)}/hitlDetails"
    airflow.wait(
        "the approval waits", lambda: airflow.api("GET", details)["hitl_details"], timeout_seconds=600
    )
    wait_until_it_may_be_answered(airflow, DAGS[1], approval, "approve")
    return approval


def start_night(site: Site) -> str:
    """A night with a row of three images, a failed row and one over the budget, until it waits for a
    person; its run id.
    """
    table = site.airflow.home / "night.jsonl"
    table.write_text("".join(f"{json.dumps(row)}\n" for row in NIGHTS_TABLE))
    (site.airflow.home / "dags" / "sources").mkdir(exist_ok=True)
    site.airflow.wait("the night parsed", lambda: site.airflow.has_dag(NIGHT), timeout_seconds=120)
    run = site.airflow.trigger_dag(NIGHT, conf={"table": table.as_uri(), "max_credits": 70})
    details = f"dags/{NIGHT}/dagRuns/{quote(run)}/hitlDetails"
    site.airflow.wait(
        "the contact sheet waits",
        lambda: site.airflow.api("GET", details)["hitl_details"],
        timeout_seconds=600,
    )
    wait_until_it_may_be_answered(site.airflow, NIGHT, run, "choose")
    return run


def start_sampled(site: Site) -> str:
    """A batch that has paid for its sample of eight and waits for a person; its run id."""
    site.airflow.wait("the sampled batch parsed", lambda: site.airflow.has_dag(SAMPLED), timeout_seconds=120)
    run = site.airflow.trigger_dag(SAMPLED)
    details = f"dags/{SAMPLED}/dagRuns/{quote(run)}/hitlDetails"
    site.airflow.wait(
        "the question about the sample",
        lambda: site.airflow.api("GET", details)["hitl_details"],
        timeout_seconds=600,
    )
    wait_until_it_may_be_answered(site.airflow, SAMPLED, run, "images")
    return run


def start_again(site: Site) -> str:
    """A run of the DAG whose prompt is a Variable; its run id."""
    site.airflow.wait("the DAG parsed", lambda: site.airflow.has_dag(AGAIN), timeout_seconds=120)
    return site.airflow.trigger_dag(AGAIN)


def wait_for_question(site: Site, run: str, *, words: str) -> None:
    """Until the approval asks with these words in its text."""

    def asked() -> bool:
        details = site.airflow.api("GET", f"dags/{AGAIN}/dagRuns/{quote(run)}/hitlDetails")["hitl_details"]
        return any(words in (detail["body"] or "") and not detail["response_received"] for detail in details)

    site.airflow.wait(f"the approval of {words!r}", asked, timeout_seconds=600)
    wait_until_it_may_be_answered(site.airflow, AGAIN, run, "approve")


def wait_until_it_may_be_answered(airflow: LocalAirflow, dag_id: str, run: str, task_id: str) -> None:
    """Until Airflow takes an answer for one, whoever is quick."""
    airflow.wait(
        "the end of the process that asked",
        lambda: asker_has_ended(airflow, dag_id, run, task_id),
        timeout_seconds=120,
    )


def put_200_images(site: Site) -> None:
    """Rows and folders as 50 mapped tasks of four images each leave them, a day older than everything
    else.
    """
    database, yesterday = (
        Database(file=site.airflow.home / "airflow.db"),
        datetime.now(UTC) - timedelta(days=1),
    )
    for number in range(50):
        place = TaskRef(dag_id=DAGS[0], run_id="scheduled__night", task_id="land", map_index=number)
        words = f"a {THINGS[number % len(THINGS)]}, catalogue picture {number}"
        landed = land(
            site.output / "night",
            place,
            name=f"night{number}",
            prompt=words,
            images=4,
            size=SIZES[number % len(SIZES)],
        )
        database.returned(place, landed, at=yesterday + timedelta(seconds=number))


@contextmanager
def below_a_path(site: Site) -> Iterator[Site]:
    """A second web server of the same Airflow, whose base path is /deep/airflow."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/deep/airflow"
    command = [
        sys.executable,
        "-m",
        "airflow",
        "api-server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    env = {**site.airflow.env, "AIRFLOW__API__BASE_URL": url}
    server = Child(
        "api-server-below",
        command,
        env=env,
        log=site.airflow.home / "api-server-below.log",
        cwd=site.airflow.home,
    )
    try:
        below = Site(
            airflow=site.airflow,
            output=site.output,
            base_url=url,
            emulator=site.emulator,
            approval=site.approval,
        )
        wait_until(
            lambda: _answers(f"{url}/api/v2/version"),
            what="the second web server",
            timeout_seconds=120,
            evidence=server.tail,
        )
        yield below
    finally:
        server.stop(patience_seconds=1)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5, proxies={"http": ""}).ok
    except requests.RequestException:
        return False
