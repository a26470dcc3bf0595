"""Results in a table of a database, through Airflow's own hooks: every day in SQLite, with the stores in
PostgreSQL.
"""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.sdk import DAG
from sqlalchemy import Engine, create_engine, text

from airflow_provider_seedream.batch.results_table import write_results
from airflow_provider_seedream.batch.target_table import Counts
from airflow_provider_seedream.bounds import StopWhen
from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.tables import ResultsTable
from tests.airflow.runner import Runner

Run = Callable[..., Any]
ROWS = [
    {"prompt": f"a fox {number}", "sku": f"S{number}", "price": 9.5, "is_new": number == 1}
    for number in range(3)
]
TABLE = """CREATE TABLE images (
    sku varchar(20) PRIMARY KEY, status varchar(20) NOT NULL, row integer, images json, paid text, credits integer,
    seedream_task_id text, detail text, price numeric(6, 2), is_new boolean, stock integer DEFAULT 7
)"""


class Database:
    """A database with the connection `warehouse` of Airflow."""

    def __init__(self, address: str) -> None:
        self.engine: Engine = create_engine(address)
        self.kind = self.engine.dialect.name

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def rows(self, query: str = "SELECT * FROM images ORDER BY sku") -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query)).mappings()]

    def watch(self) -> None:
        """Count the rows that are written from now on."""
        self.run("CREATE TABLE written (n integer)")
        for event in ("INSERT", "UPDATE"):
            if self.kind == "sqlite":
                self.run(
                    f"CREATE TRIGGER on_{event} AFTER {event} ON images BEGIN INSERT INTO written VALUES "
                    "(1); END"
                )
            else:
                self.run(
                    "CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN INSERT INTO written VALUES (1); RETURN NULL; END $$",
                    f"CREATE TRIGGER on_{event} AFTER {event} ON images FOR EACH ROW EXECUTE FUNCTION note()",
                )

    @property
    def written(self) -> int:
        return int(self.rows("SELECT count(*) AS n FROM written")[0]["n"])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.stores)])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    if request.param == "sqlite":
        if find_spec("airflow.providers.sqlite") is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(
                "apache-airflow-providers-sqlite is not installed"
            )
        file = tmp_path / "warehouse.db"
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(file)}))
        address = f"sqlite:///{file}"
    else:
        address = request.getfixturevalue("postgres_server")
        monkeypatch.setenv(
            "AIRFLOW_CONN_WAREHOUSE", f"postgres://airflow@127.0.0.1:{urlsplit(address).port}/postgres"
        )
    database = Database(address)
    if database.kind != "sqlite":
        database.run(
            "DROP SCHEMA IF EXISTS public CASCADE",
            "DROP SCHEMA IF EXISTS shop CASCADE",
            "CREATE SCHEMA public",
        )
    yield database
    database.engine.dispose()


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(
        Settings.fast(flat_images=True, seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0))
    ) as emulator:
        connection = {
            **json.loads(emulator.airflow_connection_json()),
            "extra": {"requests_per_minute": 6000},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        yield emulator


@pytest.fixture
def run(emulator: Emulator, tmp_path: Path) -> Run:
    def run(
        requests: Any = ROWS,
        *,
        run_id: str = "one",
        runner: Runner | None = None,
        until: Any = "ended",
        **more: Any,
    ) -> Any:
        given = {
            "results_table": ResultsTable(table="images", conn_id="warehouse", key="sku"),
            "reuse": "content",
            **more,
        }
        with DAG("catalogue", schedule=None):
            batch = SeedreamBatchOperator(
                task_id="batch",
                requests=requests,
                destination=(tmp_path / "images").as_uri(),
                results=f"results_{run_id}",
                poke_interval=0.05,
                **given,
            )
        return (runner or Runner(run_id=run_id)).run(batch, until=until)

    return run


class TestABatch:
    @pytest.mark.parametrize("deferrable", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_each_row_has_its_result_by_key_with_the_types_of_the_table(
        self, deferrable: bool, database: Database, emulator: Emulator, run: Run
    ) -> None:
        # a batch defers when it has been idle for 5 s
        emulator.configure(seconds_per_image=8.0 if deferrable else 0.0)
        database.run(
            TABLE, "INSERT INTO images (sku, status, stock) VALUES ('S1', 'none', 3), ('OTHER', 'none', 4)"
        )
        outcome = run(deferrable=deferrable)
        assert outcome.state == "success", outcome.error
        assert bool(outcome.deferrals) == deferrable
        assert outcome.value["results_table"] == {
            "table": "images",
            "inserted": 2,
            "updated": 1,
            "unchanged": 0,
        }
        other, *rows = database.rows()
        assert (other["sku"], other["status"], other["stock"]) == ("OTHER", "none", 4)
        assert [(row["sku"], row["row"], row["status"], row["credits"], row["stock"]) for row in rows] == [
            ("S0", 1, "landed", 10, 7),
            ("S1", 2, "landed", 10, 3),
            ("S2", 3, "landed", 10, 7),
        ]
        assert [bool(row["is_new"]) for row in rows] == [False, True, False]
        assert {Decimal(str(row["price"])) for row in rows} == {Decimal("9.5")}
        images = [
            row["images"] if isinstance(row["images"], list) else json.loads(row["images"]) for row in rows
        ]
        assert all(Path(urlsplit(uri).path).exists() for row in images for uri in row)
        assert len(database.rows("SELECT 1 FROM images WHERE is_new")) == 1

    def test_a_second_run_changes_no_row_and_keeps_the_prices(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(TABLE)
        run()
        database.watch()
        before = database.rows()
        second = run(run_id="two")
        assert second.state == "success", second.error
        assert second.value["credits"] == 0
        assert second.value["results_table"] == {
            "table": "images",
            "inserted": 0,
            "updated": 0,
            "unchanged": 3,
        }
        assert (database.written, database.rows()) == (0, before)
        assert emulator.books.posts_received == 3
        run([*ROWS[1:], {**ROWS[0], "price": 3}], run_id="three")  # another order, and one other value
        assert [(row["row"], float(row["price"]), row["credits"]) for row in database.rows()] == [
            (3, 3, 10),
            (1, 9.5, 10),
            (2, 9.5, 10),
        ]

    def test_rows_that_ended_otherwise_are_there_too_and_change_when_they_land(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(TABLE)
        rows = [ROWS[0], {**ROWS[1], "num_images": 9}, ROWS[2]]
        run(rows, max_credits=10, on_error="continue")
        assert [(row["status"], row["credits"], row["paid"]) for row in database.rows()] == [
            ("landed", 10, "yes"),
            ("invalid", 0, "no"),
            ("skipped_budget", 0, "no"),
        ]
        run(run_id="two")
        assert [(row["status"], row["credits"], row["detail"]) for row in database.rows()] == [
            ("landed", 10, None)
        ] * 3
        assert emulator.books.credits_charged == 30

    def test_equal_rows_share_their_images_and_have_a_row_each(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(TABLE)
        run([{**ROWS[0], "sku": sku} for sku in "AB"])
        first, second = database.rows()
        assert (first["images"], first["seedream_task_id"]) == (second["images"], second["seedream_task_id"])
        assert (first["credits"], second["credits"], emulator.books.posts_received) == (10, 0, 1)

    def test_a_table_that_refuses_a_row_gets_none_and_a_retry_pays_nothing(
        self, database: Database, emulator: Emulator, run: Run, tmp_path: Path
    ) -> None:
        database.run(TABLE.replace("PRIMARY KEY", "PRIMARY KEY CHECK (sku <> 'S2')"))
        runner = Runner()
        first = run(runner=runner, until="up_for_retry", retries=1)
        assert first.error.verdict == "TABLE NOT WRITTEN"
        assert (
            "was not written, and is as it was. Landed images are in the destination" in first.error.message
        )
        assert (first.error.paid, database.rows()) == ("yes", [])
        assert len((tmp_path / "images" / "results_one.jsonl").read_text().splitlines()) == 3
        database.run("DROP TABLE images", TABLE)
        second = run(runner=runner, retries=1)
        assert (second.state, second.tries) == ("success", 2), second.error
        assert [row["status"] for row in database.rows()] == ["landed"] * 3
        assert emulator.books.posts_received == 3

    def test_rows_that_a_retry_can_help_go_before_the_table(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(TABLE.replace("PRIMARY KEY", "PRIMARY KEY CHECK (sku <> 'S2')"))
        emulator.inject("fail", times=1)
        outcome = run(until="up_for_retry", retries=1)
        assert "1 of 3 rows did not land" in outcome.error.message
        assert "TABLE NOT WRITTEN" in outcome.log_text

    @pytest.mark.parametrize(
        ("fault", "rows", "says"), [("drop-after-accept", 3, "1 unknown"), ("fail", 9, "TOO MANY FAILURES")]
    )
    def test_an_error_of_the_rows_is_told_beside_that_of_the_table(
        self, fault: str, rows: int, says: str, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(TABLE.replace("PRIMARY KEY", "PRIMARY KEY CHECK (sku <> 'S2')"))
        emulator.inject(fault, endpoint="submit", times=1 if rows == 3 else 9)
        requests = [{**ROWS[0], "prompt": f"a fox {number}", "sku": f"S{number}"} for number in range(rows)]
        outcome = run(requests, stop_when=StopWhen(share=0.5, of_last=2), max_posts_at_once=1)
        assert outcome.error.verdict == "TABLE NOT WRITTEN"
        assert says in outcome.log_text

    def test_a_table_that_is_not_written_when_nothing_was_paid_says_so(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(TABLE.replace("PRIMARY KEY", "PRIMARY KEY CHECK (sku <> 'S2')"))
        outcome = run(max_credits=5)
        assert (outcome.error.verdict, outcome.error.paid) == ("TABLE NOT WRITTEN", "no")
        assert emulator.books.posts_received == 0

    @pytest.mark.parametrize("is_gone", [True, False])
    def test_a_retry_that_cannot_use_the_table_lands_what_is_paid_and_sends_nothing(
        self,
        is_gone: bool,
        database: Database,
        emulator: Emulator,
        run: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        database.run(TABLE)
        emulator.configure(seconds_per_image=3600.0)
        runner, whole = Runner(), os.environ["AIRFLOW_CONN_WAREHOUSE"]
        run(runner=runner, until="deferred", deferrable=True)
        emulator.configure(seconds_per_image=0.0)
        emulator.clock.advance(3600)
        runner.clear(
            SeedreamBatchOperator(
                task_id="batch", requests=[], retries=1, dag=DAG("catalogue", schedule=None)
            )
        )
        if is_gone:
            database.run("ALTER TABLE images RENAME TO elsewhere")
        else:
            monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", '{"conn_type": "sqlite", "host": "/nowhere/at.db"}')
        until = "ended" if is_gone else "up_for_retry"
        second = run([*ROWS, {"prompt": "new", "sku": "S9"}], runner=runner, until=until, retries=1)
        assert ("has no table images" if is_gone else "'warehouse' failed") in second.error.message
        assert "1 of 4 rows was not sent. Landed: 3." in second.error.message
        assert second.error.paid == "unknown"
        assert len([*(tmp_path / "images").glob("*_1.png")]) == emulator.books.posts_received == 3
        assert second.state == ("failed" if is_gone else "up_for_retry")
        if not is_gone:
            monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", whole)
            assert run(runner=runner, retries=1).value["results_table"]["inserted"] == 3
        assert emulator.books.posts_received == 3

    def test_a_key_that_the_database_fills_with_blanks_is_found_again(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        id_type = "text" if database.kind == "sqlite" else "uuid"
        database.run(
            f"CREATE TABLE images (sku char(20) PRIMARY KEY, status char(20), seedream_task_id {id_type})"
        )
        run()
        second = run(run_id="two")
        assert second.state == "success", second.error
        assert second.value["results_table"] == {
            "table": "images",
            "inserted": 0,
            "updated": 0,
            "unchanged": 3,
        }


class TestBeforeAnythingIsPaid:
    def test_a_table_that_does_not_exist_is_told_with_the_statement_that_creates_it(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        runner = Runner()
        requests = [{**row, "tags": ["a"], "note": None} for row in ROWS]
        refused = run(requests, runner=runner)
        assert (refused.state, emulator.books.posts_received) == ("failed", 0)
        assert (
            "connection 'warehouse' has no table images. Create it and clear the task."
            in refused.error.message
        )
        statement = refused.error.message.partition("may be left out:\n")[2]
        assert statement.startswith("CREATE TABLE images (")
        database.run(statement)
        runner.clear(SeedreamBatchOperator(task_id="batch", requests=[], dag=DAG("catalogue", schedule=None)))
        outcome = run(requests, runner=runner)
        assert outcome.state == "success", outcome.error
        [first, *_] = database.rows()
        assert first["tags"] in (["a"], '["a"]')
        assert (first["sku"], first["note"], first["seed"], first["num_images"]) == ("S0", None, None, 1)
        database.watch()
        run(requests, run_id="two")
        assert database.written == 0

    def test_a_clear_that_finds_it_missing_again_says_that_nothing_was_paid(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        runner = Runner()
        run(runner=runner)
        runner.clear(SeedreamBatchOperator(task_id="batch", requests=[], dag=DAG("catalogue", schedule=None)))
        error = run(runner=runner).error
        assert ("has no table images" in error.message, error.paid, emulator.books.posts_received) == (
            True,
            "no",
            0,
        )

    @pytest.mark.parametrize(
        ("requests", "key", "says"),
        [
            (
                [*ROWS, ROWS[0]],
                "sku",
                "results_table: requests[3] has the key of row 1 (sku: S0). Each row needs its own",
            ),
            (
                [ROWS[0], {"prompt": "a"}],
                "sku",
                "results_table: requests[1] has no value in the key (sku): fill it",
            ),
            (ROWS, ["status"], "results_table: requests[0] has no value in the key (status)"),
            (
                ROWS,
                "images",
                "results_table: images has no column 'images' for a key. It has: sku VARCHAR(20)",
            ),
            (ROWS, "day", "results_table: images has no column 'day' for a key."),
            (
                [{**ROWS[0], "price": "cheap"}],
                "sku",
                "column 'price' of images is NUMERIC(6, 2), and does not take 'cheap' (it is not a",
            ),
            (
                [{**ROWS[0], "is_new": 3}],
                "sku",
                "column 'is_new' of images is BOOLEAN, and does not take 3 (it is neither true nor",
            ),
        ],
    )
    def test_rows_that_the_table_cannot_take_are_refused(
        self, requests: Any, key: Any, says: str, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(TABLE)
        outcome = run(requests, results_table=ResultsTable(table="images", conn_id="warehouse", key=key))
        assert isinstance(outcome.error, SeedreamInputError)
        assert says in outcome.error.message
        assert emulator.books.posts_received == 0

    @pytest.mark.parametrize(
        ("column", "row", "says"),
        [
            (
                "detail text NOT NULL",
                {},
                "'detail' of images is NOT NULL, and a row of the results may have no value there",
            ),
            ("seedream_task_id text NOT NULL", {}, "'seedream_task_id' of images is NOT NULL"),
            (
                "note text NOT NULL",
                {"note": None},
                "'note' of images is NOT NULL, and requests[0] may have no value there",
            ),
            (
                "seed bigint",
                {"seed": 2**63},
                f"'seed' of images is BIGINT, and does not take {2**63} (it has more than 64 bits)",
            ),
        ],
    )
    def test_columns_that_would_refuse_a_row_at_the_end_are_refused_at_the_begin(
        self, column: str, row: dict[str, Any], says: str, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(f"CREATE TABLE images (sku varchar(20) PRIMARY KEY, status text, {column})")
        assert says in run([{**ROWS[0], **row}]).error.message
        assert emulator.books.posts_received == 0

    @pytest.mark.parametrize(
        ("column", "row", "says"),
        [
            (
                "brand text NOT NULL",
                {},
                "'brand' of images is NOT NULL without a DEFAULT, and the results have no such column",
            ),
            ("sources text NOT NULL", {}, "'sources' of images is NOT NULL without a DEFAULT"),
            (
                "Brand text NOT NULL DEFAULT 'x'",
                {"brand": "ours"},
                "'brand' of images is NOT NULL, and requests[1] may have no value",
            ),
        ],
    )
    def test_columns_that_rows_of_the_requests_leave_empty_are_refused_at_the_begin(
        self, column: str, row: dict[str, Any], says: str, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(f"CREATE TABLE images (sku varchar(20) PRIMARY KEY, status text, {column})")
        assert says in run([{**ROWS[0], **row}, ROWS[1]]).error.message
        assert emulator.books.posts_received == 0

    def test_columns_that_the_database_or_each_row_fills_are_taken(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        number = (
            "id integer PRIMARY KEY"
            if database.kind == "sqlite"
            else "id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY"
        )
        database.run(
            f"CREATE TABLE images ({number}, sku varchar(20) NOT NULL UNIQUE, prompt text NOT NULL, "
            "brand text NOT NULL DEFAULT 'ours', at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, "
            "length integer GENERATED ALWAYS AS (length(sku)) STORED NOT NULL)"
        )
        outcome = run()
        assert outcome.state == "success", outcome.error
        assert [(row["id"], row["sku"], row["brand"]) for row in database.rows()] == [
            (n + 1, f"S{n}", "ours") for n in range(3)
        ]

    @pytest.mark.parametrize("key", ["sku", ["sku", "price"]])
    def test_rows_that_are_there_already_need_no_value_for_such_a_column(
        self, key: Any, database: Database, emulator: Emulator, run: Run
    ) -> None:
        table = ResultsTable(table="images", conn_id="warehouse", key=key)
        database.run(
            "CREATE TABLE images (sku varchar(20), price numeric(6, 2), status text, brand text NOT NULL)"
        )
        database.run(*(f"INSERT INTO images VALUES ('S{number}', 9.5, NULL, 'ours')" for number in range(2)))
        assert "'brand' of images is NOT NULL without a DEFAULT" in run(results_table=table).error.message
        assert emulator.books.posts_received == 0
        outcome = run(ROWS[:2], run_id="two", results_table=table)
        assert outcome.state == "success", outcome.error
        assert [(row["status"], row["brand"]) for row in database.rows()] == [("landed", "ours")] * 2

    @pytest.mark.parametrize("database", [pytest.param("postgres", marks=pytest.mark.stores)], indirect=True)
    @pytest.mark.parametrize(
        ("column", "row", "says"),
        [
            ("status varchar(9)", {}, "does not take 'skipped_budget' (it has 14 characters)"),
            ("note varchar(3)", {"note": "long"}, "does not take 'long' (it has 4 characters)"),
            ("note text", {"note": "a\x00"}, "it has the character NUL"),
            ("stock integer", {"stock": 2**31}, "it has more than 32 bits"),
            ("stock smallint", {"stock": 2**15}, "it has more than 16 bits"),
            ("weight numeric(5, 2)", {"weight": 1000}, "more than 3 digits stand before its point"),
            ("team public.team", {"team": "c"}, "does not take 'c' (it is none of a, b)"),
            ("paid public.team", {}, "does not take 'no' (it is none of a, b)"),
            ("sizes integer[]", {"sizes": [1, "L"]}, "does not take [1, 'L'] (it is not a number)"),
            ("tags varchar(3)[]", {"tags": [["abc"], ["long"]]}, "(it has 4 characters)"),
            (
                "id integer GENERATED ALWAYS AS IDENTITY",
                {"id": 7},
                "does not take 7 (the database generates its values)",
            ),
            (
                "half integer GENERATED ALWAYS AS (4 / 2) STORED",
                {"half": 2},
                "(the database generates its values)",
            ),
        ],
    )
    def test_values_that_postgresql_would_refuse_at_the_end_are_refused_at_the_begin(
        self, column: str, row: dict[str, Any], says: str, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run("CREATE TYPE team AS ENUM ('a', 'b')")
        database.run(f"CREATE TABLE images (sku varchar(20) PRIMARY KEY, {column})")
        assert says in run([{**ROWS[0], **row}]).error.message
        assert emulator.books.posts_received == 0

    def test_a_table_that_may_only_be_read_is_refused(
        self, database: Database, emulator: Emulator, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if database.kind == "sqlite":
            database.run(
                TABLE.replace("TABLE images", "TABLE stored"), "CREATE VIEW images AS SELECT * FROM stored"
            )
        else:
            database.run(
                TABLE,
                "DROP ROLE IF EXISTS reader",
                "CREATE ROLE reader LOGIN",
                "GRANT USAGE ON SCHEMA public TO reader",
            )
            database.run("GRANT SELECT ON images TO reader")
            address = os.environ["AIRFLOW_CONN_WAREHOUSE"]
            monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", address.replace("airflow@", "reader@"))
        error = run().error
        assert "'warehouse' failed (" in error.message
        assert (error.paid, emulator.books.posts_received) == ("no", 0)

    def test_shards_with_the_number_of_the_row_as_the_key_are_refused(
        self, database: Database, emulator: Emulator, tmp_path: Path
    ) -> None:
        database.run("CREATE TABLE images (row integer PRIMARY KEY, sku text)")
        table = ResultsTable(table="images", conn_id="warehouse", key="row")
        with DAG("catalogue", schedule=None):
            shards = SeedreamBatchOperator.partial(
                task_id="batch", destination=(tmp_path / "images").as_uri(), results_table=table
            ).expand(requests=[ROWS[:1], ROWS[1:]])
        for outcome in Runner().run_mapped(shards):
            assert "would overwrite each other's rows" in str(outcome.error)
        assert emulator.books.posts_received == 0

    def test_a_table_whose_columns_hold_no_results_is_refused(
        self, database: Database, emulator: Emulator, run: Run
    ) -> None:
        database.run(TABLE.replace("images json", "images integer"))
        assert "column 'images' of images is INTEGER, and does not take ['" in run().error.message
        assert emulator.books.posts_received == 0

    def test_a_dry_run_looks_at_no_database(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        outcome = run(dry_run=True)
        assert (outcome.state, outcome.value["credits"]) == ("success", 30)


class TestNames:
    def test_names_are_quoted_where_they_need_it(self, database: Database) -> None:
        schema = "main" if database.kind == "sqlite" else "shop"
        if schema == "shop":
            database.run("CREATE SCHEMA shop")
        name = """Order's "Images"; --"""
        quoted = f'{schema}."{name.replace(chr(34), chr(34) * 2)}"'
        database.run(
            f'CREATE TABLE {quoted} ("Row" integer, "order" text, "SKU" text, "a b" text, PRIMARY KEY '
            '("Row", "SKU"))'
        )
        asked = ResultsTable(table=f"{schema}.{name}", conn_id="warehouse", key=["row", "sku"])
        lines = [
            {"row": number, "sku": "x' OR 1=1", "order": "first", "a b": None, "unknown": 1}
            for number in (1, 2)
        ]
        for expected in (Counts(inserted=2), Counts(unchanged=2)):
            assert write_results(asked, lambda: iter(lines), results="") == expected
        lines[1]["a b"] = "new"
        assert write_results(asked, lambda: iter(lines), results="") == Counts(updated=1, unchanged=1)
        assert [tuple(row.values()) for row in database.rows(f'SELECT * FROM {quoted} ORDER BY "Row"')] == [
            (1, "first", "x' OR 1=1", None),
            (2, "first", "x' OR 1=1", "new"),
        ]

    def test_a_column_that_only_the_last_row_has_is_null_in_all_others(self, database: Database) -> None:
        database.run(
            "CREATE TABLE images (row integer PRIMARY KEY, note text)", "INSERT INTO images VALUES (1, 'old')"
        )
        lines = [*({"row": number} for number in range(1, 1_200)), {"row": 1_200, "note": "late"}]
        asked = ResultsTable(table="images", conn_id="warehouse", key="row")
        assert write_results(asked, lambda: iter(lines), results="") == Counts(inserted=1_199, updated=1)
        assert database.rows("SELECT row, note FROM images WHERE note IS NOT NULL") == [
            {"row": 1_200, "note": "late"}
        ]

    def test_an_away_database_is_an_error_to_retry_and_a_table_that_is_gone_is_not(
        self, database: Database
    ) -> None:
        asked = ResultsTable(table="images", conn_id="warehouse", key="row")
        with pytest.raises(SeedreamError, match="was not written") as gone:
            write_results(asked, lambda: iter([{"row": 1}]), results="s3://bucket/results.jsonl")
        assert "AirflowFailException" in {kind.__name__ for kind in type(gone.value).__mro__}


@pytest.mark.stores
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_hundred_thousand_rows_are_written_and_memory_does_not_grow_with_them(database: Database) -> None:
    asked = ResultsTable(table="images", conn_id="warehouse", key="sku")
    database.run("CREATE TABLE images (sku varchar(20) PRIMARY KEY, status text, images json, day date)")

    def lines(rows: int, day: str) -> Callable[[], Iterator[dict[str, Any]]]:
        line = {"status": "landed", "images": ["s3://bucket/fox_1.png"], "day": day}
        return lambda: ({"row": number, "sku": f"S{number}", **line} for number in range(rows))

    def peak(rows: int, day: str) -> tuple[Counts, int]:
        tracemalloc.start()
        counts = write_results(asked, lines(rows, day), results="")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return counts, peak

    # imports and caches are filled
    assert write_results(asked, lines(1_000, "2026-11-27"), results="") == Counts(inserted=1_000)
    few, low = peak(2_000, "2026-11-28")
    many, high = peak(8_000, "2026-11-28")
    assert (few, many) == (Counts(inserted=1_000, updated=1_000), Counts(inserted=6_000, unchanged=2_000))
    assert high < low + 1_000_000  # bytes; 6,000 rows would be four times that
    for counts in (Counts(inserted=92_000, unchanged=8_000), Counts(unchanged=100_000)):
        # tracing takes four times as long
        assert write_results(asked, lines(100_000, "2026-11-28"), results="") == counts
    assert database.rows("SELECT count(*) AS n FROM images WHERE day = '2026-11-28'") == [{"n": 100_000}]
