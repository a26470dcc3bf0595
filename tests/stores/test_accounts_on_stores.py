"""The sums, the export and the statement of ledgers that lie in every kind of store."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow.parquet
import pytest

from airflow_provider_seedream.cli.definition import main
from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.submit import Request, Submitter
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.reconciliation import reconcile
from airflow_provider_seedream.storage import Folder
from tests.stores.servers import Place
from tests.unit.values import submission


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(Settings.fast(seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0))) as running:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", running.airflow_connection_json())
        yield running


def test_folders_of_a_bucket_add_up_and_are_exported_into_it(store: Place, emulator: Emulator) -> None:
    """One bucket, a folder for each day: `--recursive` finds both."""
    folders = [f"{store.uri}/2026-11-27", f"{store.uri}/2026-11-28"]
    for number in range(24):
        folder = folders[number % 2]
        made_by = TaskRef(dag_id="watches", run_id="night", task_id="submit", try_number=1)
        prompt = f"watch {number}{' [fail]' if number % 8 == 0 else ''}"
        request = Request(
            submission=submission(prompt=prompt), destination=folder, name=None, made_by=made_by
        )
        Submitter(SeedreamHook(), Ledger(folder), "fail").submit(request)
    statement = reconcile(store.uri, recursive=True)
    assert (statement.unexplained, statement.charged, statement.refunded) == (0, 240, 30)
    assert statement.end == emulator.balance_credits
    file = f"{store.uri}/books/ledger.parquet"
    with pytest.raises(SystemExit) as ended:
        main(["export", store.uri, file, "--recursive", "-o", "json"])
    assert ended.value.code == 0
    data = Folder(f"{store.uri}/books").read("ledger.parquet") or b""
    columns = pyarrow.parquet.read_table(io.BytesIO(data)).to_pydict()
    assert sum(columns["charged_credits"]) == emulator.books.credits_charged
    assert sorted(set(columns["destination"])) == folders
