"""A query without SQLAlchemy: through the cursor of the driver."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook

from airflow_provider_seedream.batch.query import _through_cursor, _through_sqlalchemy
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.tables import ResultsTable, SqlTable


class PlainHook(DbApiHook):
    """A hook of a driver that SQLAlchemy does not know."""

    conn_name_attr = "plain_conn_id"

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def get_conn(self) -> Any:
        return sqlite3.connect(self.file)

    def get_sqlalchemy_engine(self, engine_kwargs: Any = None) -> Any:
        raise NotImplementedError("no dialect")


@pytest.fixture
def hook(tmp_path: Path) -> PlainHook:
    with sqlite3.connect(tmp_path / "catalogue.db") as connection:
        connection.execute("CREATE TABLE catalogue (id INTEGER, prompt TEXT)")
        connection.executemany(
            "INSERT INTO catalogue VALUES (?, ?)", [(number, f"fox {number}") for number in range(2_500)]
        )
    return PlainHook(tmp_path / "catalogue.db")


def test_rows_come_through_the_cursor_of_the_driver(hook: PlainHook) -> None:
    table = SqlTable(sql="SELECT prompt, id FROM catalogue ORDER BY id", conn_id="plain")
    assert _through_sqlalchemy(hook, table) is None
    rows = list(_through_cursor(hook, table))
    assert rows == [{"prompt": f"fox {number}", "id": number} for number in range(2_500)]


def test_parameters_go_to_the_driver(hook: PlainHook) -> None:
    table = SqlTable(sql="SELECT prompt FROM catalogue WHERE id = ?", conn_id="plain", parameters=(7,))
    assert list(_through_cursor(hook, table)) == [{"prompt": "fox 7"}]


@pytest.mark.parametrize("wrong", [{"sql": " "}, {"sql": None}, {"conn_id": ""}])
def test_a_query_and_a_connection_are_text(wrong: dict[str, Any]) -> None:
    with pytest.raises(SeedreamInputError, match="must be text"):
        SqlTable(**{"sql": "SELECT 1", "conn_id": "warehouse", **wrong})


@pytest.mark.parametrize(
    "wrong", [{"table": " "}, {"conn_id": None}, {"key": []}, {"key": 5}, {"key": True}, {"key": {"sku": 1}}]
)
def test_a_table_its_connection_and_its_key_are_text(wrong: dict[str, Any]) -> None:
    with pytest.raises(SeedreamInputError, match=f"{next(iter(wrong))} must be text"):
        ResultsTable(**{"table": "images", "conn_id": "warehouse", "key": "sku", **wrong})


def test_its_text_is_the_same_in_every_parse() -> None:
    texts = {repr(SqlTable(sql="SELECT 1", conn_id="warehouse", parameters=[1])) for _ in range(2)}
    assert texts == {"SqlTable(sql='SELECT 1', conn_id='warehouse', parameters=[1])"}
