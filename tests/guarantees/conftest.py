"""What every guarantee test stands on: an emulator that keeps the books, a folder, and the usual pair of
tasks.

Nothing here is patched: connections come from the environment, settings are short, faults happen at the
server.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.guarantees.reconciled import explained
from tools.processes import HeldPort

POKE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A DAG of two tasks: one submits, one lands."""

    dag: DAG
    submit: Any
    land: Any


Batch = Callable[..., SeedreamBatchOperator]
Build = Callable[..., Chain]
Connect = Callable[..., None]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Points `seedream_default` at an emulator; keyword arguments become extras of the connection."""

    def connect(emulator: Emulator, **extra: Any) -> None:
        connection = json.loads(emulator.airflow_connection_json())
        # over https its own says whom to trust
        connection["extra"] = {**connection.get("extra", {}), **extra}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))

    return connect


@pytest.fixture
def tls() -> bool:
    """Whether the emulator speaks https. Modules that are about calls say that it does; the others are
    quicker without.
    """
    return False


@pytest.fixture
def emulator(connect: Connect, tls: bool) -> Iterator[Emulator]:
    """Jobs of 0.2 s, small images, no rate limit, and the connection `seedream_default`."""
    with Emulator(Settings.fast(tls=tls)) as running:
        connect(running)
        yield running


@pytest.fixture(params=[10, 30], ids=["price 10", "price 30"])
def price(request: pytest.FixtureRequest, emulator: Emulator, connect: Connect) -> int:
    """The credits that the API charges for an image, as the connection says too."""
    emulator.configure(credits_per_image=request.param)
    connect(emulator, credits_per_image=request.param, requests_per_minute=100_000)
    return int(request.param)


@pytest.fixture
def hasty(emulator: Emulator) -> Iterator[Emulator]:
    """The same emulator, for which a minute passes in a second: rate limits recover, jobs end and links
    expire as fast.

    Its 429s have no sentence: the seconds in it would be the emulator's, and be waited for by the test's
    clock.
    """
    emulator.configure(error_shape="empty")
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.05):
            emulator.clock.advance(3)

    ticking = threading.Thread(target=tick)
    ticking.start()
    yield emulator
    stop.set()
    ticking.join()


@pytest.fixture(params=[True, False], ids=["deferred", "synchronous"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    """Whether waiting tasks wait in the triggerer: what is promised holds either way."""
    return bool(request.param)


@pytest.fixture(autouse=True)
def _adds_up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """After each test of a guarantee the morning adds up: what the server has charged stands in the folder.

    A test whose world cannot add up says why: ``@pytest.mark.adds_up_not("...")``.
    """
    is_one = request.node.path.name.startswith("test_g") and "emulator" in request.fixturenames
    running = request.getfixturevalue("emulator") if is_one else None
    yield
    if running is None or request.node.get_closest_marker("adds_up_not") or not running.books.posts:
        return
    folders = sorted({str(ledger.parent.parent) for ledger in tmp_path.glob("**/_seedream/ledger")})
    if not folders:  # its images lie in a store
        return
    running.faults.clear()
    running.configure(status_counts=False)  # else the limit of the test's world would hold the statement up
    with pytest.MonkeyPatch.context() as patched:  # the test may have taken the key out of its own connection
        patched.setenv("AIRFLOW_CONN_BOOKS", running.airflow_connection_json())
        explained(running, *(f"file://{folder}" for folder in folders), conn_id="books")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where images land, as a path to look into."""
    return tmp_path / "images"


@pytest.fixture
def destination(folder: Path) -> str:
    """The same folder as a destination."""
    return f"file://{folder}"


@pytest.fixture
def caps(emulator: Emulator, connect: Connect, destination: str) -> Any:
    """Gives the connection caps, with its books in the destination."""

    def caps(**extra: Any) -> None:
        connect(emulator, requests_per_minute=100_000, **{"destination": destination, **extra})

    return caps


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens, nor will."""
    held = HeldPort()
    yield held.number
    held.release()


@pytest.fixture
def build(destination: str) -> Build:
    """Builds the pair: `build(prompt="[fail]", submit={"retries": 2}, land={"deferrable": deferrable})`.

    Further keyword arguments go to the submitting task.
    """

    def build(
        *,
        prompt: str = "a watch",
        submit: dict[str, Any] | None = None,
        land: dict[str, Any] | None = None,
        **more: Any,
    ) -> Chain:
        submitting = {
            "prompt": prompt,
            "destination": destination,
            "poke_interval": POKE_SECONDS,
            **more,
            **(submit or {}),
        }
        landing = {"poke_interval": POKE_SECONDS, "timeout": 20, **(land or {})}
        with DAG("guarantees", schedule=None) as dag:
            first = SeedreamGenerateOperator(task_id="submit", **submitting)
            second = SeedreamGenerationSensor(task_id="land", **{"generation": first.output, **landing})
        return Chain(dag=dag, submit=first, land=second)

    return build


@pytest.fixture
def batch(destination: str, deferrable: bool) -> Batch:
    """Builds a batch of requests; keyword arguments go to the operator."""

    def batch(requests: Any, **more: Any) -> SeedreamBatchOperator:
        given = {
            "destination": destination,
            "deferrable": deferrable,
            "poke_interval": POKE_SECONDS,
            "settling_seconds": 1,
            **more,
        }
        with DAG("guarantees", schedule=None):
            return SeedreamBatchOperator(task_id="batch", requests=requests, **given)

    return batch


@pytest.fixture
def unlimited(emulator: Emulator, connect: Connect) -> None:
    """No rate limit that a batch could meet."""
    connect(emulator, requests_per_minute=100_000)


def results(folder: Path, name: str = "results") -> list[dict[str, Any]]:
    """The lines of a batch's table of results."""
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def records(folder: Path) -> list[dict[str, Any]]:
    """The ledger of a folder, in the order of its file names."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("_seedream/ledger/*.json"))]


def images(folder: Path) -> list[str]:
    """The names of the landed images, thumbnails not counted."""
    return sorted(
        file.name
        for file in folder.glob("*")
        if file.suffix in (".png", ".jpg", ".webp") and ".thumb." not in file.name
    )
