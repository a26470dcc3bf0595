"""What 0.2.0 left goes on under today's build: nothing is paid again, and everything that was paid lands.

``tests/upgrades/0.2.0.json`` was made by that release (``tests/upgrades/make.py``). Ids are replaced by those
of the emulator that runs here, and all instants are moved to now, as the API keeps results for a day.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.generations import Generation, LandedGeneration
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.manifest import Manifest
from tests.airflow.deferral import Deferral, encoded, first_event
from tests.airflow.runner import Outcome, Runner
from tests.upgrades.scenes import DESTINATION, RECORDS, ROOT, SENT_ROWS, TABLE, attach_storage, tasks

pytestmark = pytest.mark.slow  # each test has an emulator, and waits as long as the triggers say

LEFT = Path(__file__).with_name("0.2.0.json")
_INSTANT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_EPOCH = re.compile(r"\b1[6-9]\d{8}\.\d+|(?<=[\s\[:])1[6-9]\d{8}(?=[\s,\]}])")
ATTACHES = ("submitted", "landed", "partial", "failed", "expired")  # records that are paid and not refunded


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """Today's build over what the release left, and how many POSTs the server had before."""

    runner: Runner
    tasks: dict[str, Any]
    left: dict[str, Any]
    emulator: Emulator
    files: Any
    posts_before: int

    @property
    def new_posts(self) -> int:
        return self.emulator.books.posts - self.posts_before

    def run(self, task_id: str) -> Outcome:
        return self.runner.run(self.tasks[task_id])

    def clear(self, task_id: str) -> Outcome:
        """As a person clears a task after the upgrade."""
        self.runner.clear(self.tasks[task_id])
        return self.run(task_id)

    def resume(self, task_id: str) -> Outcome:
        """The trigger is made from its row, waits, and the task goes on with its event."""
        stored = self.left["deferrals"][task_id]
        row = Deferral(
            classpath=stored["classpath"],
            row=json.dumps(stored["kwargs"]),
            next_method=stored["next_method"],
            next_kwargs={},
            timeout=None,
        )
        event = asyncio.run(asyncio.wait_for(first_event(row.trigger()), 60))
        instance = self.runner.instance(self.tasks[task_id])
        instance.next_method = stored["next_method"]
        instance.next_kwargs = encoded({**stored["next_kwargs"], "event": event.payload})
        return self.run(task_id)


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upgraded]:
    with Emulator(Settings.fast(flat_images=True, quirks=False)) as emulator:
        connection = json.loads(emulator.airflow_connection_json())
        connection["extra"] = {
            **connection.get("extra", {}),
            "requests_per_minute": 6000,
            "request_timeout_seconds": 1,
        }
        for conn_id in ("SEEDREAM_DEFAULT", "SEEDREAM_PACED"):
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection))
        left = _left(emulator)
        files = attach_storage()
        for name, text in left["files"].items():
            files.pipe_file(ROOT + name, text.encode("latin-1"))
        runner, made = Runner(), tasks()
        for key, value in left["xcoms"]:
            runner.api.xcoms[tuple(key)] = value
        for task_id, state in left["states"].items():
            instance = runner.instance(made[task_id])
            instance.try_number, instance.state = 1, state if state in ("success", "failed") else None
        yield Upgraded(
            runner=runner,
            tasks=made,
            left=left,
            emulator=emulator,
            files=files,
            posts_before=emulator.books.posts,
        )


def _left(emulator: Emulator) -> dict[str, Any]:
    """What the release left, as if it had been left a moment ago, with generations that this emulator
    knows.
    """
    text = LEFT.read_text(encoding="utf-8")
    shift = time.time() - json.loads(text)["made_epoch"]
    for generation in json.loads(text)["generations"]:
        url = f"{emulator.url}/v1/images/seedream/v5/lite/{generation['kind']}/"
        body = {key: value for key, value in generation["payload"].items() if value is not None}
        answer = requests.post(
            url, json=body, headers={"Authorization": f"Bearer {emulator.key}"}, timeout=10
        )
        text = text.replace(generation["seedream_task_id"], answer.json()["task_id"])
    text = _INSTANT.sub(lambda found: _later(found[0], shift), text)
    text = _EPOCH.sub(lambda found: str(float(found[0]) + shift), text)
    left: dict[str, Any] = json.loads(text)
    return left


def _later(instant: str, seconds: float) -> str:
    moved = datetime.fromisoformat(instant) + timedelta(seconds=seconds)
    return moved.isoformat(timespec="seconds").replace("+00:00", "Z")


class TestWhatLiesThere:
    def test_a_record_of_each_outcome_is_read(self, upgraded: Upgraded) -> None:
        files = [name for name in upgraded.left["files"] if name.startswith("_seedream/ledger/")]
        outcomes = {record.outcome for record in map(Ledger(DESTINATION).read, files) if record}
        assert outcomes == {*RECORDS} - {"refunded"}

    def test_every_manifest_is_read(self, upgraded: Upgraded) -> None:
        names = [name for name in upgraded.left["files"] if "/" not in name and name.endswith(".json")]
        assert len(names) >= 4
        for name in names:
            assert Manifest.from_json(upgraded.files.cat_file(ROOT + name)).images

    def test_every_xcom_is_read(self, upgraded: Upgraded) -> None:
        values = {key[2]: value for key, value in upgraded.left["xcoms"] if key[4] == "return_value"}
        assert Generation.from_dict(values["submitted"]).name == "submitted"
        assert len(LandedGeneration.from_dict(values["land_landed"]).images) == 2
        assert values["table"]["count"]["landed"] == 2


class TestAClearAfterTheUpgrade:
    @pytest.mark.parametrize("outcome", ATTACHES)
    def test_what_is_paid_is_not_paid_again(self, upgraded: Upgraded, outcome: str) -> None:
        before = upgraded.runner.api.xcoms[
            ("upgrade", upgraded.runner.api.run_id, outcome, -1, "return_value")
        ]
        cleared = upgraded.clear(outcome)
        assert cleared.state == "success", cleared.log_text
        assert cleared.value["seedream_task_id"] == before["seedream_task_id"]
        assert upgraded.new_posts == 0

    @pytest.mark.parametrize("outcome", ["intent", "unknown"])
    def test_what_may_be_paid_is_not_sent_again(self, upgraded: Upgraded, outcome: str) -> None:
        cleared = upgraded.clear(outcome)
        assert (cleared.state, upgraded.new_posts) == ("failed", 0)
        assert "Paid: unknown" in str(cleared.error)

    def test_what_was_refunded_is_paid_once_more(self, upgraded: Upgraded) -> None:
        assert upgraded.clear("refunded").state == "success"
        assert upgraded.new_posts == 1

    def test_a_landing_is_taken_as_it_is(self, upgraded: Upgraded) -> None:
        downloads = sum(request.area == "download" for request in upgraded.emulator.books.requests)
        cleared = upgraded.clear("land_landed")
        assert cleared.state == "success", cleared.log_text
        assert sum(request.area == "download" for request in upgraded.emulator.books.requests) == downloads
        assert upgraded.new_posts == 0

    def test_a_table_that_has_landed_is_not_sent_again(self, upgraded: Upgraded) -> None:
        cleared = upgraded.clear("table")
        assert cleared.state == "success", cleared.log_text
        assert (cleared.value["count"]["landed"], upgraded.new_posts) == (2, 0)


class TestARowOfATrigger:
    @pytest.mark.parametrize("task_id", ["land_submitted", "waits"])
    def test_a_wait_for_images_ends_with_them(self, upgraded: Upgraded, task_id: str) -> None:
        resumed = upgraded.resume(task_id)
        assert resumed.state == "success", resumed.log_text
        landed = LandedGeneration.from_dict(resumed.value)
        for image in landed.images:
            assert upgraded.files.exists(image.uri.removeprefix("memory:/"))
        assert upgraded.new_posts == 0

    def test_a_wait_for_a_turn_ends_with_one_post(self, upgraded: Upgraded) -> None:
        resumed = upgraded.resume("turn")
        assert resumed.state == "success", resumed.log_text
        assert upgraded.new_posts == 1

    def test_a_wait_for_a_top_up_ends_with_it(self, upgraded: Upgraded) -> None:
        upgraded.emulator.configure(balance_credits=10**6)
        resumed = upgraded.resume("top_up")
        assert resumed.state == "success", resumed.log_text

    def test_a_batch_sends_the_rest_of_its_rows_and_lands_all(self, upgraded: Upgraded) -> None:
        resumed = upgraded.resume("half")
        assert resumed.state == "success", resumed.log_text
        assert resumed.value["count"]["landed"] == len(TABLE)
        assert upgraded.new_posts == len(TABLE) - SENT_ROWS
