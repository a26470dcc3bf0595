"""G1 on a store that cannot keep it: refused before anything is paid, once, with a sentence that says why."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Runner
from tests.unit.stores import Deaf, attached_store


@pytest.mark.parametrize(
    ("operator", "request_fields"),
    [
        (SeedreamGenerateOperator, {"prompt": "a watch"}),
        (SeedreamBatchOperator, {"requests": [{"prompt": "a"}, {"prompt": "b"}]}),
    ],
)
def test_a_store_that_lets_two_creates_win_is_sent_nothing_and_not_retried(
    emulator: Emulator, operator: Any, request_fields: dict[str, Any]
) -> None:
    uri, _ = attached_store(Deaf())
    with DAG("guarantees", schedule=None):
        task = operator(task_id="submit", destination=uri, retries=2, **request_fields)
    outcome = Runner().run(task)
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert isinstance(outcome.error, SeedreamLedgerError)
    assert "it accepted a second create" in str(outcome.error)
    assert "Paid: no. A retry would be refused again" in str(outcome.error)
    assert emulator.books.posts_received == 0
