"""After the worlds of the other guarantees the morning adds up: the statement and the server's books
agree, to the credit.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.reconciliation import Statement
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Build, Connect
from tests.guarantees.reconciled import explained
from tests.guarantees.test_plan import table

UNLIMITED = {"requests_per_minute": 100_000}


def endings(statement: Statement) -> Counter[str]:
    return Counter(entry.ending for entry in statement.entries)


@pytest.mark.parametrize(
    ("prompt", "more", "ending"),
    [
        pytest.param("a watch", {}, "landed", marks=pytest.mark.slow),
        pytest.param("a watch [partial:1]", {"num_images": 3}, "partial", marks=pytest.mark.slow),
        pytest.param("a watch [fail]", {"retries": 1}, "refunded", marks=pytest.mark.slow),
        pytest.param("a watch [safety]", {"retries": 1}, "moderated", marks=pytest.mark.slow),
        ("a watch [finished-failed]", {"retries": 1}, "failed"),
        ("a watch [drop-after-accept]", {"retries": 1}, "unknown"),
        pytest.param("a watch [error-after-accept]", {"retries": 1}, "unknown", marks=pytest.mark.slow),
        pytest.param("a watch [no-id]", {"retries": 1}, "unknown", marks=pytest.mark.slow),
        pytest.param("a watch [drop]", {"retries": 1}, "unknown", marks=pytest.mark.slow),
    ],
)
def test_each_ending_of_a_task_is_explained(
    prompt: str, more: dict[str, Any], ending: str, build: Build, emulator: Emulator, destination: str
) -> None:
    """G2, G7, G10: a task that submits and lands, beside one that succeeds."""
    wait = {"wait": True, "settling_seconds": 0.3}
    Runner(run_id="other").run(build(prompt="another watch", submit=wait).submit)
    chain = build(prompt=prompt, submit={**wait, **more})
    Runner().run(chain.submit)
    statement = explained(emulator, destination)
    assert endings(statement)[ending] >= 1
    assert statement.adds_up is (ending != "unknown" or prompt.endswith("[drop]"))


def test_a_request_that_was_sent_again_leaves_its_first_outcome_unexplained(
    build: Build, emulator: Emulator, destination: str
) -> None:
    chain = build(
        prompt="a watch [drop-after-accept*1]",
        submit={"on_unknown_submit": "resubmit", "retries": 2, "wait": True},
    )
    assert Runner().run(chain.submit).state == "success"
    statement = explained(emulator, destination)
    assert endings(statement) == {"unknown": 1, "landed": 1}
    assert (emulator.books.posts, statement.unexplained) == (2, 10)
    [duty] = statement.duties
    assert (duty.is_due, "it was sent again" in duty.what) == (False, True)


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        pytest.param(1, False, id="a price that only the wallet tells"),
        pytest.param(2, False, id="the same, another night", marks=pytest.mark.slow),
        pytest.param(2, True, id="a price that the connection says", marks=pytest.mark.slow),
    ],
)
def test_nights_of_batches_in_two_folders_are_explained(
    seed: int, said: bool, emulator: Emulator, destination: str, connect: Connect
) -> None:
    """G16 to G18: tables with troubles, budgets and equal rows; what a later run finds paid is paid once."""
    emulator.configure(credits_per_image=30)
    connect(emulator, **UNLIMITED, **({"credits_per_image": 30} if said else {}))
    chance = random.Random(seed)
    for number in range(3):
        folder = f"{destination}/{number % 2}"
        how = {
            "max_credits": chance.choice([None, 300]),
            "on_unknown_submit": chance.choice(["fail", "resubmit"]),
        }
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator(
                task_id="batch",
                requests=table(chance),
                destination=folder,
                on_error="continue",
                poke_interval=POKE_SECONDS,
                settling_seconds=1,
                results=f"r{number}",
                deferrable=False,
                **how,
            )
        Runner(run_id=f"night {number % 2}").run(task)
    statement = explained(emulator, destination)
    assert emulator.books.posts >= 4
    assert statement.needs_a_person is (
        statement.unexplained != 0 or any(duty.is_due for duty in statement.duties)
    )
