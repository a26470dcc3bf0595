"""Ten seconds at night: thirteen everyday failures, and the block of short lines that the log of each has
before its traceback.

Every failure is made over real sockets and run through Airflow's own task runner. A line is what the log page
shows of it: the page cuts at about 100 characters. `SEEDREAM_THIRTEEN=FILE` writes the blocks that were seen
as a page.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.clock import to_iso
from airflow_provider_seedream.model.commands import program
from airflow_provider_seedream.operators.seedream import SeedreamBatchOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor, SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import POKE_SECONDS, Build, Connect
from tests.unit.stores import NoBucket

WIDTH = 100


def sensor() -> Any:
    return SeedreamGenerationSensor(task_id="x", generation="!", timeout=60, on_partial="acept")


def credits_sensor() -> Any:
    return SeedreamCreditsSensor(task_id="x", min_credits=-1, timeout=-1)


def batch() -> Any:
    return SeedreamBatchOperator(
        task_id="x", requests=[], max_in_flight=0, on_error="continu", destination="file:///tmp/x"
    )


@pytest.fixture
def unreachable(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The host of a connection where nobody listens."""
    host = f"http://127.0.0.1:{unused_port}"
    monkeypatch.setenv(
        "AIRFLOW_CONN_SEEDREAM_DEFAULT",
        json.dumps({"conn_type": "seedream", "password": "k" * 20, "host": host}),
    )
    return host


@pytest.fixture
def no_bucket() -> str:
    """A destination in an object store without the bucket: real fsspec, attached as s3://conn@bucket is."""
    from airflow.sdk.io import attach

    attach(protocol="memory", conn_id="aws", fs=NoBucket())
    return "memory://aws@watchs/hero"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as the buckets of users have: pytest's own are longer than a line of the log."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="sd", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def block_of(outcome: Outcome, level: str = "ERROR") -> list[str]:
    """The lines of the block: the first is the verdict, the last names the page of the documentation."""
    said = [line.removeprefix(f"{level} ") for line in outcome.log if line.startswith(f"{level} ")]
    said = [re.sub(r"^(airflow\S*|task) ", "", line) for line in said]
    begins = next(number for number, line in enumerate(said) if re.match(r"[A-Z][A-Z -]{5,}[,:]", line))
    ends = next(number for number, line in enumerate(said) if number > begins and line.startswith("Help: "))
    return said[begins : ends + 1]


def shown(name: str, lines: list[str]) -> None:
    """Keep the lines of a failure for the page, where one is asked for."""
    if page := os.environ.get("SEEDREAM_THIRTEEN"):
        with open(page, "a") as file:
            file.write(f"## {name}\n```\n" + "\n".join(line[:WIDTH] for line in lines) + "\n```\n\n")


def check_block(name: str, outcome: Outcome, begins: str, *, says: tuple[str, ...]) -> list[str]:
    """The block has the promised order and width; the exception begins with the same words."""
    lines = block_of(outcome)
    shown(name, lines)
    assert lines[0].startswith(begins), lines
    assert max(map(len, lines)) <= WIDTH, lines
    parts = [line.split(":")[0] for line in lines if not line.startswith("  ")][1:]
    order = ["Cost", "Wallet", "Do", "Until", "Record", "Seedream task id", "Connection", "Cause", "Help"]
    assert parts == [part for part in order if part in parts], lines
    assert {"Cost", "Do", "Connection", "Help"} <= set(parts), lines
    text = "\n".join(lines)
    assert all(word in text for word in says), lines
    assert str(outcome.error).startswith(begins.split(":")[0]), outcome.error
    assert outcome.log.index(next(line for line in outcome.log if begins in line)) < len(outcome.log) - 1
    return lines


class TestUnknownOutcome:
    def test_a_lost_answer_names_the_credits_at_risk_the_wallet_and_two_commands(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        task = build(prompt="a watch [drop-after-accept]", wait=True, deferrable=deferrable, retries=3).submit
        outcome = Runner().run(task)
        lines = check_block(
            "Unknown outcome",
            outcome,
            "UNKNOWN OUTCOME, up to 10 credits at risk: The request left, no answer came.",
            says=("100000.00 before, 99990.00 now: 10 less, so it was probably paid", "seedream_default"),
        )
        [record] = folder.glob("_seedream/ledger/*.json")
        assert f"  {program()} resolve file://{folder} {record.name[:8]} --not-paid" in lines
        assert outcome.tries == 1

    def test_a_503_on_a_post_is_an_unknown_outcome_and_the_status_comes_last(
        self, emulator: Emulator, build: Build
    ) -> None:
        outcome = Runner().run(build(prompt="a watch [refuse:503]", retries=3).submit)
        lines = check_block(
            "503 on a POST",
            outcome,
            "UNKNOWN OUTCOME, up to 10 credits at risk: ",
            says=("unchanged, so it was probably not paid", "Cause: The API answered 503"),
        )
        assert lines[-2].startswith("Cause:")


class TestFirstMistakes:
    """They end the task in its first try, by name, with what to type."""

    def test_a_wrong_key_names_the_connection(self, emulator: Emulator, build: Build) -> None:
        outcome = Runner().run(build(prompt="a watch [refuse:401]", retries=3).submit)
        check_block(
            "Wrong key",
            outcome,
            "KEY REFUSED: ",
            says=("Cost: nothing", "'seedream_default'", "put a valid key into"),
        )
        assert (outcome.state, outcome.tries) == ("failed", 1)

    def test_an_empty_wallet_says_what_to_top_up(self, emulator: Emulator, build: Build) -> None:
        emulator.configure(balance_credits=5)
        outcome = Runner().run(build(retries=3).submit)
        check_block("Empty wallet", outcome, "EMPTY WALLET: ", says=("Cost: nothing", "Top up the wallet"))
        assert (outcome.state, outcome.tries) == ("failed", 1)

    def test_a_connection_that_is_not_there_has_a_close_match(self, emulator: Emulator, build: Build) -> None:
        outcome = Runner().run(build(retries=3, seedream_conn_id="seedream_defualt").submit)
        says = (
            "Did you mean 'seedream_default'?",
            "  airflow connections add seedream_defualt --conn-type seedream",
        )
        check_block(
            "Connection missing",
            outcome,
            "CONNECTION MISSING: Airflow has no connection 'seedream_defualt'.",
            says=says,
        )
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 0)

    def test_a_connection_that_is_not_there_is_no_match_of_itself(self, build: Build) -> None:
        error = Runner().run(build(seedream_conn_id="seedream_default").submit).error
        assert "Airflow has no connection 'seedream_default'. " in str(error)
        assert "Did you mean" not in str(error)

    def test_a_sensor_and_a_deferred_wait_name_it_too(
        self, emulator: Emulator, build: Build, monkeypatch: pytest.MonkeyPatch, deferrable: bool
    ) -> None:
        chain, runner = build(land={"deferrable": deferrable, "retries": 3}), Runner()
        runner.run(chain.submit)
        monkeypatch.delenv("AIRFLOW_CONN_SEEDREAM_DEFAULT")
        outcome = runner.run(chain.land)
        lines = check_block(
            "Connection missing while waiting",
            outcome,
            "CONNECTION MISSING, 10 credits paid: ",
            says=("Until: ",),
        )
        assert (outcome.state, outcome.tries) == ("failed", 1), lines

    def test_a_connection_without_a_key_is_named(
        self, emulator: Emulator, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", '{"conn_type": "seedream"}')
        outcome = Runner().run(build(retries=3).submit)
        check_block(
            "Key missing",
            outcome,
            "KEY MISSING: Connection 'seedream_default' has no password",
            says=("Cost: nothing",),
        )
        assert (outcome.state, outcome.tries) == ("failed", 1)

    def test_a_path_in_the_host_is_named(
        self, emulator: Emulator, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = f"{emulator.url}/v1/images"
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT",
            json.dumps({"conn_type": "seedream", "password": "k", "host": host}),
        )
        outcome = Runner().run(build(retries=3).submit)
        check_block("Path in the host", outcome, "WRONG HOST: ", says=("without /v1",))
        assert (outcome.state, outcome.tries) == ("failed", 1)

    def test_a_store_whose_library_is_missing_names_the_command(
        self, emulator: Emulator, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # as on a worker that has Amazon's provider and not its extra
        monkeypatch.setitem(sys.modules, "s3fs", None)
        outcome = Runner().run(build(retries=3, destination="s3://aws_default@bucket/watches").submit)
        says = ("Cost: nothing", "  pip install 'airflow-provider-seedream[s3]'", "on this worker")
        check_block(
            "Extra missing",
            outcome,
            "EXTRA MISSING: No installed provider opens s3:// on this worker.",
            says=says,
        )
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 0)

    @pytest.mark.parametrize("scheme", ["oss", "s4"])  # s4: universal_pathlib does not know it either
    def test_a_scheme_that_no_extra_of_ours_serves_gets_no_pip_command(
        self, emulator: Emulator, build: Build, scheme: str
    ) -> None:
        outcome = Runner().run(build(retries=3, destination=f"{scheme}://bucket/watches").submit)
        opens = f"EXTRA MISSING: No installed provider opens {scheme}://"
        lines = check_block("Scheme unknown", outcome, opens, says=("Cost: nothing",))
        assert not any("pip install" in line for line in lines)

    def test_a_bucket_that_is_missing_is_named_with_a_check_of_it(
        self, emulator: Emulator, build: Build, no_bucket: str
    ) -> None:
        outcome = Runner().run(build(retries=3, destination=no_bucket).submit)
        says = ("Cost: nothing", f"  {program()} check {no_bucket}", "Cause: FileNotFoundError")
        check_block("Bucket missing", outcome, "BUCKET MISSING: There is no bucket 'watchs'", says=says)
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 0)


class TestATypo:
    def test_it_is_an_error_of_the_dag_with_all_wrong_arguments_and_a_close_match(
        self, destination: str
    ) -> None:
        with pytest.raises(SeedreamInputError) as refused, DAG("typo", schedule=None):
            SeedreamGenerateOperator(
                task_id="hero",
                prompt="a watch",
                image_size="landscape_16:9",
                num_images=7,
                reuse="contents",
                timeout=-1,
                destination=destination,
            )
        text = str(refused.value)
        shown("Typo (an import error of the DAG)", text.splitlines())
        assert text.startswith("WRONG INPUT: Task 'hero' has 4 wrong arguments.\n  ")
        assert all(
            word in text
            for word in ("Did you mean 'landscape_16_9'?", "num_images", "Did you mean 'content'?", "timeout")
        )
        assert "aid" not in text and "retry" not in text.lower()

    @pytest.mark.parametrize(
        "make", [sensor, credits_sensor, batch], ids=["sensor", "credits sensor", "batch"]
    )
    def test_every_kind_of_task_names_itself(self, make: Callable[..., Any]) -> None:
        with (
            pytest.raises(SeedreamInputError, match=r"^WRONG INPUT: Task 'x' has 2 wrong arguments\.\n  "),
            DAG("typo", schedule=None),
        ):
            make()

    def test_a_mapped_task_is_made_on_a_worker_and_tells_its_log(
        self, emulator: Emulator, destination: str
    ) -> None:
        with DAG("typo", schedule=None):
            mapped = SeedreamGenerateOperator.partial(
                task_id="hero", destination=destination, reuse="contents", retries=3
            )
        outcome = Runner().run(mapped.expand(prompt=["a", "b"]), map_index=1)
        assert block_of(outcome)[0].startswith(
            "WRONG INPUT: Task 'hero': reuse must be 'run' or 'content'; got 'contents'."
        )
        assert (outcome.state, outcome.tries) == ("failed", 1)


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"watch {number}"} for number in range(count)]


@pytest.fixture
def table(emulator: Emulator, connect: Connect, destination: str) -> Callable[..., SeedreamBatchOperator]:
    connect(emulator, requests_per_minute=100_000)

    def build_batch(requests: Any, **more: Any) -> SeedreamBatchOperator:
        given = {
            "destination": destination,
            "poke_interval": POKE_SECONDS,
            "settling_seconds": 1,
            "retries": 0,
            **more,
        }
        with DAG("thirteen", schedule=None):
            return SeedreamBatchOperator(task_id="batch", requests=requests, **given)

    return build_batch


Table = Callable[..., SeedreamBatchOperator]


class TestGenerations:
    """Failures of the API: what was paid, until when the images are kept, what to do."""

    def test_an_api_that_cannot_be_reached_is_named_with_its_address(
        self, emulator: Emulator, build: Build, unreachable: str
    ) -> None:
        outcome = Runner().run(build(retries=0).submit)
        begins = f"API NOT REACHED: The request could not be sent to {unreachable}: connection refused."
        lines = check_block(
            "API refused the connection", outcome, begins, says=("Cost: nothing", "Cause: ConnectionError")
        )
        assert [line.split(":")[0] for line in lines if re.match(r"\w", line)][-2:] == ["Cause", "Help"]

    def test_moderation_says_that_the_credits_came_back(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        chain, runner = (
            build(prompt="a watch [safety]", land={"deferrable": deferrable, "retries": 2}),
            Runner(),
        )
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        says = ("Cost: nothing: 10 credits, refunded.", "change the prompt", "Record: ", "Seedream task id: ")
        check_block("Moderation", outcome, "REFUSED BY MODERATION, 10 credits refunded: ", says=says)
        assert outcome.tries == 1

    def test_expired_results_say_when_they_expired_and_how_to_buy_anew(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain, runner = build(land={"deferrable": deferrable, "retries": 2}), Runner()
        generation = runner.run(chain.submit).value
        emulator.clock.advance(25 * 3600)
        yesterday = {"created_at": to_iso(time.time() - 25 * 3600)}
        runner.push("submit", {**generation, **yesterday}, dag_id="guarantees")
        outcome = runner.run(chain.land)
        says = ("Cost: 10 credits, paid once.", "`take`")
        lines = check_block(
            "Results expired", outcome, "RESULTS EXPIRED, 10 credits paid: The results expired at ", says=says
        )
        assert not any(line.startswith("Until") for line in lines)

    def test_fewer_images_than_asked_for_say_how_many_came(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        chain, runner = (
            build(
                prompt="a watch [partial:1]",
                num_images=2,
                land={"deferrable": deferrable, "settling_seconds": 1},
            ),
            Runner(),
        )
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        says = ("1 of 2 images came", 'on_partial="accept"')
        check_block("Partial", outcome, "FEWER IMAGES, 20 credits paid: 1 of 2 images came", says=says)

    def test_a_timeout_says_how_long_was_waited_and_what_timeout_was(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        emulator.configure(seconds_per_image=3600)
        chain, runner = build(land={"deferrable": deferrable, "retries": 0, "timeout": 1}), Runner()
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        says = ("Until: ", "h left)", "Clear the task to wait on for free")
        begins = "NOT READY IN TIME, 10 credits paid: Still not ready after 1 s (`timeout=1`), "
        check_block("Not ready in time", outcome, begins, says=says)

    def test_a_mapped_task_that_runs_out_of_time_says_when_its_next_turn_is(
        self, emulator: Emulator, connect: Connect, destination: str
    ) -> None:
        connect(emulator, requests_per_minute=3)
        emulator.configure(rate_limit_per_minute=3)
        with DAG("thirteen", schedule=None):
            mapped = SeedreamGenerateOperator.partial(
                task_id="submit", destination=destination, timeout=8, retries=0, deferrable=True
            )
        tasks, runner = mapped.expand(prompt=[f"watch {number}" for number in range(10)]), Runner()
        outcomes = [runner.run(tasks, map_index=index) for index in range(4)]
        assert [outcome.state for outcome in outcomes] == ["success"] * 3 + ["failed"]
        says = ("Cost: nothing", "deferrable=True", "`timeout` (8 s)")
        check_block(
            "3 a minute with 10 mapped tasks",
            outcomes[3],
            "RATE LIMIT: 3 requests a minute: the next turn is ",
            says=says,
        )


class TestTables:
    """A batch: rows that are wrong, rows that are over the budget, and rows whose outcome is unknown."""

    def test_three_bad_rows_stand_below_each_other(self, emulator: Emulator, table: Table) -> None:
        bad = [
            {"prompt": " "},
            {"prompt": "b", "num_images": 7},
            {"prompt": "c", "image_size": "landscape_16:9"},
        ]
        outcome = Runner().run(table([*rows_of(2), *bad]))
        says = ("Did you mean 'landscape_16_9'?",)
        lines = check_block("3 bad rows", outcome, "WRONG INPUT: 3 of 5 rows are invalid.", says=says)
        assert all(
            any(line.startswith(f"  Row {row}: requests[{row - 1}]: ") for line in lines) for row in (3, 4, 5)
        ), lines
        assert emulator.books.posts_received == 0

    def test_rows_over_the_budget_are_one_line_and_the_last_line_adds_up(
        self, emulator: Emulator, table: Table, folder: Path
    ) -> None:
        outcome = Runner().run(table(rows_of(40), max_credits=300))
        assert outcome.state == "success"
        assert sum("over the budget" in line and "WARNING" in line for line in outcome.log) == 1
        [last] = [line for line in outcome.log if "rows landed" in line]
        begins = "30 of 40 rows landed: 30 images, 300 of 300 credits. Not sent: 10 (budget). Took "
        assert begins in last and last.endswith(f"Results: file://{folder}/results.jsonl")
        assert any("Row 7: Submitted seedream task" in line for line in outcome.log)

    @pytest.mark.parametrize("fails", [True, False])
    def test_unknown_rows_of_a_batch_that_goes_on_are_named_with_their_credits(
        self, emulator: Emulator, table: Table, fails: bool, deferrable: bool
    ) -> None:
        requests = [
            *rows_of(3),
            {"prompt": "a [drop-after-accept]"},
            {"prompt": "b [no-id]", "num_images": 2},
        ]
        outcome = Runner().run(
            table(requests, on_error="continue", fail_on_unknown=fails, deferrable=deferrable)
        )
        assert outcome.state == ("failed" if fails else "success")
        lines = block_of(outcome, "ERROR" if fails else "WARNING")
        shown("Unknown rows, on_error=continue", lines)
        assert (
            lines[0]
            == "UNKNOWN OUTCOME, up to 30 credits at risk: The requests of 2 rows left, no answer came."
        )
        assert lines[1] == "  Rows: 4, 5."
        assert any(line.startswith(f"  {program()} ledger ") for line in lines)

    def test_rows_that_did_not_land_say_what_was_paid(self, emulator: Emulator, table: Table) -> None:
        outcome = Runner().run(table([*rows_of(2), {"prompt": "x [fail]"}], on_unknown_submit="fail"))
        says = ("1 of 3 rows did not land", "2 landed, 1 failed", "results.jsonl")
        check_block("Rows not landed", outcome, "ROWS NOT LANDED, 20 credits paid: ", says=says)

    def test_rows_of_an_unknown_outcome_are_told_apart_from_what_was_paid(
        self, emulator: Emulator, table: Table
    ) -> None:
        rows = [*rows_of(2), {"prompt": "x [drop]"}]
        outcome = Runner().run(table(rows, on_error="fail", on_unknown_submit="fail"))
        says = ("1 of 3 rows did not land", "2 landed, 1 unknown", "Up to 10 credits more are at risk.")
        check_block("A row unknown", outcome, "ROWS NOT LANDED, 20 credits paid: ", says=says)


class House(SeedreamGenerateOperator):
    """A user's subclass with an execute of its own."""

    def execute(self, context: Any) -> Any:
        return super().execute(context)


class TestEveryKindOfTask:
    def test_a_subclass_and_a_mapped_task_log_the_block_once(
        self, emulator: Emulator, destination: str
    ) -> None:
        with DAG("kinds", schedule=None):
            mapped = House.partial(task_id="house", destination=destination, retries=0).expand(
                prompt=["a [refuse:400]", "b"]
            )
        outcome = Runner().run(mapped, map_index=0)
        assert sum("REQUEST REFUSED" in line and "Traceback" not in line for line in outcome.log) == 1
        assert block_of(outcome)[0].startswith("REQUEST REFUSED: ")

    def test_a_decorated_task_logs_it_and_an_error_of_its_function_too(
        self, emulator: Emulator, destination: str
    ) -> None:
        from airflow.sdk import task as tasks

        with DAG("kinds", schedule=None):

            @tasks.seedream(destination=destination, retries=0)
            def poster(city: str) -> str:
                return f"a poster of {city} [refuse:400]"

            @tasks.seedream(destination=destination, retries=0)
            def broken() -> str:
                raise KeyError("city")

            refused, unexpected = poster("Rome"), broken()
        assert block_of(Runner().run(refused.operator))[0].startswith("REQUEST REFUSED: ")
        lines = block_of(Runner().run(unexpected.operator))
        assert lines[0] == "UNEXPECTED ERROR: KeyError: 'city'"

    def test_an_error_after_a_deferral_is_told_the_same(self, emulator: Emulator, build: Build) -> None:
        chain = build(prompt="a watch [fail] [takes:3000]", land={"deferrable": True, "retries": 0})
        runner = Runner()
        runner.run(chain.submit)
        assert runner.run(chain.land, until="deferred").state == "deferred"
        emulator.clock.advance(3001)
        outcome = runner.run(chain.land)
        assert [step.method for step in outcome.steps] == ["resume_landing"]
        assert block_of(outcome)[0].startswith("GENERATION FAILED, 10 credits refunded: ")
