"""One generation of a batch, polled by a worker: what it remembers from poll to poll."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from airflow_provider_seedream.batch.attending import Attendant
from airflow_provider_seedream.batch.progress import InFlight
from airflow_provider_seedream.exceptions import SeedreamPollingError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.polling.policy import PollPolicy
from tests.unit.api import connection_json
from tests.unit.values import KEY, generation
from tools.processes import free_port


@pytest.fixture
def entry() -> InFlight:
    now = time.time()
    return InFlight(
        number=1,
        columns={"prompt": "a watch"},
        generation=generation(),
        credits=10,
        may_have_landed=False,
        due_epoch=now,
        deadline_epoch=now + 3600,
    )


def test_an_api_that_is_away_is_given_up_after_half_an_hour_in_one_piece(
    entry: InFlight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(f"http://127.0.0.1:{free_port()}", key=KEY)
    )
    hook = SeedreamHook()
    policy = PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=1.0, num_images=None)
    with hook.downloads(max_bytes=1000) as downloads:
        attendant = Attendant(hook, downloads, policy, landed_by=TaskRef(), embed_metadata=False)
        first = attendant.attend(entry).entry
        again = attendant.attend(first).entry
        assert again.watch["silent_epoch"] == first.watch["silent_epoch"] is not None
        error = attendant.attend(
            replace(again, watch=again.watch | {"silent_epoch": time.time() - 1800})
        ).error
    assert isinstance(error, SeedreamPollingError)
    assert error.paid == "yes"
