"""A7, A8, E28: where several creates of one file win, or none can, nothing is paid and nothing is tried
again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_provider_seedream.cli.definition import main
from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.exceptions import SeedreamLandingError, SeedreamLedgerError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.submit import Request, Submitter
from airflow_provider_seedream.model.commands import program
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Runner
from tests.cli.conftest import run_process
from tests.stores.refused import REFUSED, s3_that_demands_encryption
from tests.stores.test_landing_on_stores import in_threads
from tests.unit.values import submission

MADE_BY = TaskRef(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)

pytestmark = pytest.mark.stores


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(Settings.fast()) as running:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", running.airflow_connection_json())
        yield running


@pytest.mark.parametrize("kind", REFUSED)
def test_four_equal_requests_at_once_pay_nothing(
    kind: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the probe: four POSTs on the first and the third."""
    start, said = REFUSED[kind]
    with start(tmp_path, monkeypatch) as uri:
        request = Request(submission=submission(), destination=uri, name="hero", made_by=MADE_BY)

        def submit() -> Exception | None:
            try:
                Submitter(SeedreamHook(), Ledger(uri), "fail").submit(request)
            except SeedreamLedgerError as error:
                return error
            return None

        errors = in_threads(4, submit)
    assert emulator.books.posts_received == 0
    for error in errors:
        assert isinstance(error, AirflowFailException), "a retry would be refused again"
        assert said in str(error)
        assert "pay" in str(error)


@pytest.mark.parametrize("kind", REFUSED)
def test_the_check_says_why_a_store_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    start, said = REFUSED[kind]
    with start(tmp_path, monkeypatch) as uri, pytest.raises(SystemExit) as ended:
        main(["check", uri, "--output", "json"])
    assert ended.value.code == 1
    said_by_all = capfd.readouterr().out  # the servers' own lines are among it
    checks = json.JSONDecoder().raw_decode(said_by_all[said_by_all.index("{\n") :])[0]["checks"]
    assert any(said in finding["detail"] for finding in checks if finding["result"] == "failed")


def test_a_bucket_that_demands_encryption_headers_gets_them_as_the_docs_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "connection.md").read_text()
    [documented] = re.findall(r"^export FSSPEC_S3='(.*)'$", page, re.MULTILINE)
    with s3_that_demands_encryption(monkeypatch) as uri:
        for setting, result in ((None, "failed"), (documented, "ok")):
            if setting:
                monkeypatch.setenv("FSSPEC_S3", setting)
            checks = run_process("airflow_provider_seedream", "check", uri, "-o", "json").json["checks"]
            assert (checks[0]["check"], checks[0]["result"]) == ("write", result)


@pytest.mark.parametrize("kind", ["a mounted store", "s3 without conditional writes"])
def test_what_is_paid_and_cannot_be_landed_there_says_at_once_how_to_land_it_elsewhere(
    kind: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(
        submission=submission(), destination=f"file://{tmp_path}/paid", name=None, made_by=MADE_BY
    )
    paid = Submitter(SeedreamHook(), Ledger(request.destination), "fail").submit(request).seedream_task_id
    with REFUSED[kind][0](tmp_path, monkeypatch) as uri, DAG("stores", schedule=None):
        land = SeedreamGenerationSensor(
            task_id="land", generation=paid, destination=uri, poke_interval=0.1, timeout=60, retries=2
        )
        outcome = Runner().run(land)
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert isinstance(outcome.error, SeedreamLandingError)
    assert f"`{program()} land {paid} DESTINATION`" in str(outcome.error)
    assert "Paid: yes. A retry would be refused again: land the images in another destination." in str(
        outcome.error
    )
