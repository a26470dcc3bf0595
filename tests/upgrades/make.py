"""Makes ``tests/upgrades/0.2.0.json``: what a released build leaves behind in storage, in XComs and in rows
of triggers.

Run once per release, by that build, as the tests go on from the file::

    git archive v0.2.0 airflow_provider_seedream | tar x -C /tmp/release      # or the commit "Version 0.2.0"
    cd /tmp && PYTHONPATH=/tmp/release:$CHECKOUT python -m tests.upgrades.make 0.2.0 $CHECKOUT/tests/upgrades/0.2.0.json
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import airflow_provider_seedream
from airflow_provider_seedream.emulator import Emulator, Fault, Settings
from tests.airflow.deferral import decoded
from tests.airflow.runner import Runner
from tests.upgrades.scenes import RECORDS, ROOT, SENT_ROWS, attach_storage, tasks

DAY_SECONDS = 25 * 3600.0


def main(version: str, target: Path) -> None:
    assert version == airflow_provider_seedream.__version__, airflow_provider_seedream.__file__
    assert not Path(airflow_provider_seedream.__file__).is_relative_to(Path(__file__).parents[2]), (
        "that is today's build"
    )
    files = attach_storage()
    with Emulator(Settings.fast(flat_images=True, quirks=False)) as emulator:
        connect(emulator)
        connect(emulator, "SEEDREAM_PACED", requests_per_minute=SENT_ROWS)
        maker = Maker(emulator, files)
        maker.make()
        kept = {
            "version": version,
            "made_epoch": time.time(),
            "generations": [
                {"seedream_task_id": one.seedream_task_id, "kind": one.kind, "payload": one.payload}
                for one in emulator.books.submissions
            ],
            "files": {
                **{path.removeprefix(ROOT): data for path, data in _texts(files).items()},
                **maker.intents,
            },
            "xcoms": [[list(key), value] for key, value in maker.runner.api.xcoms.items()],
            "deferrals": maker.deferrals,
            "states": {one.task_id: one.state for one in maker.runner.api.instances.values()},
        }
    target.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def connect(emulator: Emulator, conn_id: str = "SEEDREAM_DEFAULT", **extra: Any) -> None:
    """Point a connection of this process at the emulator."""
    connection = json.loads(emulator.airflow_connection_json())
    connection["extra"] = {
        **connection.get("extra", {}),
        "requests_per_minute": 6000,
        "request_timeout_seconds": 1,
        **extra,
    }
    os.environ[f"AIRFLOW_CONN_{conn_id}"] = json.dumps(connection)


class Maker:
    def __init__(self, emulator: Emulator, files: Any) -> None:
        self.emulator, self.files, self.runner, self.tasks = emulator, files, Runner(), tasks()
        self.deferrals: dict[str, dict[str, Any]] = {}
        self.intents: dict[str, str] = {}

    def make(self) -> None:
        for outcome in ("landed", "partial", "failed", "refunded"):
            self.run(outcome, "success")
        for outcome in ("landed", "partial", "failed", "refunded"):
            self.run(f"land_{outcome}", "success" if outcome == "landed" else "failed")
        self.emulator.inject(Fault("drop-after-accept", prompt="a watch that is unknown"))
        self.run("unknown", "failed")
        self.run("table", "success")
        self.emulator.configure(seconds_per_image=3600)
        self.run("submitted", "success")
        self.defer("land_submitted")
        self.defer("waits")
        self.defer("top_up")
        self.half()
        self.turn()
        self.intent()
        self.emulator.configure(seconds_per_image=0.2)
        self.expired()
        assert {record["outcome"] for record in self.records()} == {*RECORDS} - {"refunded"}

    def run(self, task_id: str, state: str) -> None:
        outcome = self.runner.run(self.tasks[task_id])
        assert outcome.state == state, (task_id, outcome.state, outcome.log_text)

    def defer(self, task_id: str) -> None:
        outcome = self.runner.run(self.tasks[task_id], until="deferred")
        assert outcome.state == "deferred", (task_id, outcome.state, outcome.log_text)
        stored = self.runner.deferral(self.tasks[task_id])
        self.deferrals[task_id] = {
            "classpath": stored.classpath,
            "kwargs": stored.kwargs,
            "next_method": stored.next_method,
            "next_kwargs": decoded(stored.next_kwargs),
        }

    def half(self) -> None:
        """The limit lets some rows go, and the batch defers with the rest of its table before it."""
        before = len(self.emulator.books.submissions)
        self.defer("half")
        assert len(self.emulator.books.submissions) == before + SENT_ROWS

    def turn(self) -> None:
        self.emulator.inject(Fault("refuse", status=429, times=1, prompt="a watch in turn"))
        self.defer("turn")

    def intent(self) -> None:
        """A record as a kill leaves it, while its POST is on the way: copied at that moment."""
        self.emulator.inject(Fault("stall-after-accept", seconds=5, prompt="a watch that is intent"))
        count = len(self.emulator.books.submissions)

        def copy() -> None:
            assert self.emulator.books.wait_until(lambda books: len(books.submissions) > count)
            found = {path: text for path, text in _texts(self.files).items() if '"outcome": "intent"' in text}
            self.intents = {path.removeprefix(ROOT): text for path, text in found.items()}

        copying = threading.Thread(target=copy)
        copying.start()
        self.run("intent", "failed")
        copying.join()
        assert len(self.intents) == 1

    def expired(self) -> None:
        """A day goes by at the API; for this process the generation was made a day ago."""
        self.run("expired", "success")
        [generation] = [
            value
            for key, value in self.runner.api.xcoms.items()
            if key[2] == "expired" and key[4] == "return_value"
        ]
        generation["created_at"] = datetime.fromtimestamp(time.time() - DAY_SECONDS, UTC).isoformat()
        self.emulator.clock.advance(DAY_SECONDS)
        self.run("land_expired", "failed")

    def records(self) -> list[dict[str, Any]]:
        texts = {**_texts(self.files), **{ROOT + name: text for name, text in self.intents.items()}}
        return [json.loads(text) for path, text in texts.items() if "/_seedream/ledger/" in path]


def _texts(files: Any) -> dict[str, str]:
    """Every file; bytes that are no text, as images', one character each."""
    return {path: file.getvalue().decode("latin-1") for path, file in sorted(files.store.items())}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
