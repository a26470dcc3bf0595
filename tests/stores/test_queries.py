"""Tables of requests that are queries, against a real PostgreSQL server through Airflow's own hook."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.sdk import DAG
from sqlalchemy import create_engine, text

from airflow_provider_seedream.batch.requests import read_table
from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.tables import SqlTable
from tests.airflow.runner import Runner

pytestmark = pytest.mark.stores
Query = Callable[..., SqlTable]
ROWS = 100_000


@pytest.fixture(scope="module")
def server(postgres_server: str) -> str:
    engine = create_engine(postgres_server)
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE catalogue (id int PRIMARY KEY, prompt text, num_images numeric, day date, price "
            "numeric, note text)",
            "INSERT INTO catalogue VALUES (1, 'a fox', 2, '2026-11-28', 9.50, 'a%b'), (2, 'a hare', NULL, "
            "NULL, NULL, NULL)",
            "CREATE TABLE large AS SELECT n AS id, 'a fox number ' || n AS prompt FROM generate_series(1, "
            f"{ROWS}) AS n",
        ):
            connection.execute(text(statement))
    engine.dispose()
    return postgres_server


@pytest.fixture
def query(server: str, monkeypatch: pytest.MonkeyPatch) -> Query:
    parts = urlsplit(server)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f"postgres://airflow@127.0.0.1:{parts.port}/postgres")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    return lambda sql, **more: SqlTable(sql=sql, conn_id="warehouse", **more)


def test_rows_have_the_columns_and_values_of_the_query(query: Query) -> None:
    rows = list(read_table(query("SELECT * FROM catalogue ORDER BY id")))
    assert [(raw.number, raw.where) for raw in rows] == [(1, "row 1 of the query"), (2, "row 2 of the query")]
    first = {
        "id": 1,
        "prompt": "a fox",
        "num_images": "2",
        "day": "2026-11-28",
        "price": "9.50",
        "note": "a%b",
    }
    assert [raw.columns for raw in rows] == [first, {**dict.fromkeys(first), "id": 2, "prompt": "a hare"}]


def test_a_percent_sign_is_no_placeholder_unless_there_are_parameters(query: Query) -> None:
    assert len(list(read_table(query("SELECT prompt FROM catalogue WHERE note LIKE 'a%'")))) == 1
    assert len(list(read_table(query("SELECT prompt FROM catalogue WHERE id = %s", parameters=(2,))))) == 1
    assert (
        len(list(read_table(query("SELECT prompt FROM catalogue WHERE id = %(id)s", parameters={"id": 2}))))
        == 1
    )


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "SELECT prompt FROM nowhere",
            "the database of connection 'warehouse' refuses the query (relation \"nowhere\" does not exist",
        ),
        (
            "SELECT prompt, prompt FROM catalogue",
            "the query has two columns named 'prompt'. Give one another name with AS.",
        ),
        (
            "SELECT prompt AS promt FROM catalogue",
            "the query: unknown column 'promt'. Did you mean 'prompt'?",
        ),
    ],
)
def test_a_wrong_query_is_refused_and_not_tried_again(sql: str, says: str, query: Query) -> None:
    with pytest.raises(SeedreamInputError) as refused:
        list(read_table(query(sql)))
    assert says in refused.value.message


def test_a_database_that_is_away_is_an_error_to_retry(query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://airflow@127.0.0.1:1/postgres")
    with pytest.raises(
        SeedreamError, match="the query of connection 'warehouse' failed \\(OperationalError: "
    ) as away:
        list(read_table(query("SELECT prompt FROM catalogue")))
    assert not isinstance(away.value, SeedreamInputError)


def test_a_connection_that_is_not_for_sql_is_refused(query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "seedream://:key@127.0.0.1:1")
    with pytest.raises(
        SeedreamInputError, match="connection 'warehouse' is not one for SQL: its hook is SeedreamHook"
    ):
        list(read_table(query("SELECT 1")))
    with pytest.raises(SeedreamInputError, match="connection 'nowhere' cannot be used"):
        list(read_table(SqlTable(sql="SELECT 1", conn_id="nowhere")))


def test_memory_does_not_grow_with_the_rows(query: Query) -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        read = sum(1 for _ in read_table(query(f"SELECT * FROM large WHERE id <= {rows} ORDER BY id")))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert read == rows
        return peak

    peak(2_000)  # imports and caches are filled
    assert peak(ROWS) < peak(5_000) + 1_000_000  # bytes; the rows themselves would be 30 times that


def test_the_dag_of_the_docs_runs(query: Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "batch.md").read_text().partition("#### A query")[2]
    code = page.partition("```python\n")[2].partition("```")[0]
    assert "catalogue_from_the_warehouse" in code
    with Emulator(Settings.fast(flat_images=True)) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", emulator.airflow_connection_json())
        names: dict[str, Any] = {}
        code = code.replace("s3://my_conn@my-bucket", tmp_path.as_uri())
        exec(code.replace("with DAG(", "with (dag := DAG(").replace("False):", "False)):"), names)
        task = names["dag"].get_task("catalogue")
        outcome = Runner().run(task)
        assert outcome.state == "success", outcome.error
        assert emulator.books.credits_charged == 30  # 2 images and 1


def test_a_batch_pays_each_row_of_a_query_once_and_the_next_run_nothing(
    query: Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(run_id: str) -> Any:
        with DAG("catalogue", schedule=None):
            batch = SeedreamBatchOperator(
                task_id="batch",
                requests=query(
                    "SELECT prompt, num_images, id AS sku FROM catalogue WHERE day <= '{{ ds }}' OR id = 2 "
                    "ORDER BY id"
                ),
                destination=f"file://{tmp_path}",
                reuse="content",
                results=f"results_{run_id}",
                deferrable=False,
                poke_interval=0.05,
            )
        return Runner(run_id=run_id).run(batch)

    with Emulator(Settings.fast(flat_images=True)) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", emulator.airflow_connection_json())
        first, second = run("first"), run("second")
        assert (first.state, second.state) == ("success", "success"), (first.error, second.error)
        assert first.value["rows"] == 1  # the run's date is before that of the first row
        assert emulator.books.posts_received == 1
