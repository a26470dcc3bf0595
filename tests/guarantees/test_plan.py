"""A plan of a table says exactly what a run right after it pays, whatever the ledger holds by then."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Batch, Connect

PROMPTS = ("a watch", "a strap", "a buckle", "a dial", "a crown", "a box", "a moon phase", "a bridge")
TROUBLES = ("", "", "[fail]", "[drop-after-accept]", "[moderated]")
pytestmark = pytest.mark.usefixtures("unlimited")


@pytest.fixture
def batch(destination: str) -> Batch:
    def batch(requests: Any, **more: Any) -> SeedreamBatchOperator:
        given = {"destination": destination, "on_error": "continue", "poke_interval": POKE_SECONDS, **more}
        with DAG("guarantees", schedule=None):
            return SeedreamBatchOperator(
                task_id="batch", requests=requests, settling_seconds=1, deferrable=False, **given
            )

    return batch


def table(chance: random.Random) -> list[dict[str, Any]]:
    """Rows that repeat, are invalid, have names, or meet a trouble at the server."""

    def row() -> dict[str, Any]:
        prompt = f"{chance.choice(PROMPTS)} {chance.choice(TROUBLES)}".strip()
        name = {"name": f"n{abs(hash(prompt)) % 97}"} if chance.random() < 0.2 else {}
        return {
            "prompt": prompt if chance.random() < 0.9 else "",
            "num_images": chance.choice([1, 1, 2]),
            **name,
        }

    rows = [row() for _ in range(chance.randint(3, 9))]
    lost = [row for row in rows if "[drop" in row["prompt"]]
    return [row for row in rows if row not in lost[2:]]  # three unknown outcomes in a row stop a batch


@pytest.mark.parametrize("seed", [0, 1, 2, 6])  # 2 and 6 have found faults
def test_a_run_pays_what_its_plan_said(seed: int, batch: Batch, emulator: Emulator, price: int) -> None:
    chance = random.Random(seed)
    for number in range(3):  # each run finds what the runs before it have left in the ledger
        rows, budget = table(chance), chance.choice([None, 4 * price, 8 * price])
        how = {
            "max_credits": budget,
            "on_unknown_submit": chance.choice(["fail", "fail", "resubmit"]),
            "results": f"r{number}",
        }
        planned = Runner().run(batch(rows, dry_run=True, **how))
        assert planned.state == "success", planned.error
        plan = planned.value["plan"]
        assert sum(plan["count"].values()) == plan["rows"] == len(rows)
        posts, charged = emulator.books.posts_received, emulator.books.credits_charged
        Runner().run(batch(rows, **how))
        said = (plan["requests"], plan["credits"])
        assert (emulator.books.posts_received - posts, emulator.books.credits_charged - charged) == said, (
            plan,
            rows,
        )


def test_a_plan_writes_nothing_and_needs_no_connection(
    batch: Batch, emulator: Emulator, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SEEDREAM_DEFAULT")
    plan = Runner().run(batch([{"prompt": "a fox"}, {"prompt": "a fox"}], dry_run=True)).value["plan"]
    assert (plan["count"]["pay"], plan["count"]["repeat"], plan["credits"]) == (1, 1, 10)
    assert not folder.exists()
    assert emulator.books.posts_received == 0


def test_without_a_destination_a_dry_run_has_no_plan(batch: Batch) -> None:
    assert Runner().run(batch([{"prompt": "a fox"}], dry_run=True, destination=None)).value["plan"] is None


def test_the_second_run_of_the_same_content_pays_nothing(batch: Batch, emulator: Emulator) -> None:
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    assert Runner().run(batch(rows, reuse="content")).state == "success"
    plan = Runner(run_id="second").run(batch(rows, reuse="content", dry_run=True)).value["plan"]
    assert (plan["count"]["landed"], plan["requests"], plan["other_requests"]) == (len(rows), 0, 0)
    other = Runner(run_id="second").run(batch(rows[:2], dry_run=True)).value["plan"]
    assert (other["count"]["pay"], other["other_requests"]) == (2, len(rows))
    assert json.dumps(plan)


def test_a_plan_counts_what_other_tasks_of_the_run_have_spent(batch: Batch, emulator: Emulator) -> None:
    runner, how = Runner(), {"max_credits_per_run": 50, "results": "rest"}
    with DAG("guarantees", schedule=None):
        earlier = SeedreamBatchOperator(
            task_id="earlier", requests=[{"prompt": "a fox"}], destination=batch([]).destination
        )
    assert runner.run(earlier).state == "success"
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    plan = Runner().run(batch(rows, dry_run=True, **how)).value["plan"]
    assert Runner().run(batch(rows, **how)).value["count"]["landed"] == plan["requests"] == 4
    assert (plan["count"]["over_budget"], plan["credits"]) == (4, 40)
    assert emulator.books.credits_charged == 50


def test_a_plan_sees_that_the_name_of_a_refunded_row_is_another_requests_by_now(
    batch: Batch, emulator: Emulator
) -> None:
    refunded = [{"prompt": "a watch [fail]", "name": "hero"}]
    Runner().run(batch(refunded, results="first"))
    Runner(run_id="another").run(batch([{"prompt": "a clock", "name": "hero"}], results="second"))
    plan = Runner().run(batch(refunded, dry_run=True)).value["plan"]
    assert (plan["count"]["name_taken"], plan["requests"]) == (1, 0)
    assert Runner().run(batch(refunded, results="third")).value["count"]["invalid"] == 1
    assert emulator.books.posts_received == 2


def test_a_run_under_caps_pays_what_its_plan_said_they_leave_room_for(
    batch: Batch, emulator: Emulator, caps: Any
) -> None:
    caps(max_credits_per_day=60, label_caps={"team=shop": {"month": 40}, "team=lab": {"month": 0}})
    Runner(run_id="earlier").run(batch([{"prompt": "a fox"}], results="earlier"))
    rows, how = (
        [{"prompt": prompt, "num_images": 1 + (prompt == "a dial")} for prompt in PROMPTS],
        {"labels": {"team": "shop"}},
    )
    for left in (40, 0):  # the first run pays up to the cap of its label, the second finds it full
        plan = Runner().run(batch(rows, dry_run=True, **how)).value["plan"]
        within, charged, posts = (
            plan["within_caps"],
            emulator.books.credits_charged,
            emulator.books.posts_received,
        )
        assert [(cap["cap"], cap["left"]) for cap in within["caps"]] == [
            ("max_credits_per_day=60", 50 - (40 - left)),
            ("label_caps team=shop month=40", left),
        ]
        assert plan["requests"] == plan["count"]["pay"] > within["requests"]
        Runner().run(batch(rows, **how, results=f"r{left}"))
        paid = (emulator.books.posts_received - posts, emulator.books.credits_charged - charged)
        assert paid == (within["requests"], within["credits"]) == (4 if left else 0, left)


def test_a_plan_says_what_a_run_under_caps_would_be_refused_for(
    batch: Batch, connect: Connect, emulator: Emulator
) -> None:
    for extra, says in (
        ("max_credits_per_day", "has caps, and no place for their books"),
        ("max_credit_per_day", "Did you mean"),
    ):
        connect(emulator, **{extra: 60})
        errors = [
            Runner().run(batch([{"prompt": "a fox"}], dry_run=dry_run)).error for dry_run in (True, False)
        ]
        assert says in str(errors[0])
        assert str(errors[0]) == str(errors[1])
    assert emulator.books.posts_received == 0


def test_a_plan_without_caps_asks_no_books(batch: Batch, folder: Path) -> None:
    assert Runner().run(batch([{"prompt": "a fox"}], dry_run=True)).value["plan"]["within_caps"] is None
    assert not folder.exists()
