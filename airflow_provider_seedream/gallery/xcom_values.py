"""How the value of an XCom is read: as text, then as plain JSON, as XComs can be edited by users. It asks no
database, and never imports Airflow.
"""

import json
from typing import Any

from sqlalchemy import Text, cast


def text_of(model: Any) -> Any:
    """The value as text: the database's own JSON reader would fail a whole page for one odd value."""
    return cast(model.value, Text).label("value")


def value_of(result: str | None, table: str | None) -> Any:
    """The return value of a task; for a batch that failed the URI of its table, which it has pushed."""
    value, pushed = _plain(result), _plain(table)
    if value is not None or not pushed:
        return value
    return pushed if isinstance(pushed, dict) else {"results": pushed}


def _plain(text: str | None) -> Any:
    """An XCom as plain JSON. Airflow's own way to read one builds objects of the classes that its text names;
    ours are dicts.

    Text that cannot be read becomes None: one odd XCom must not cost a page.
    """
    try:
        value = json.loads(text) if text else None
        if isinstance(value, str) and value[:1] in ("{", "[", '"'):
            # JSON in JSON: Airflow's own form of an edited XCom
            return json.loads(value)
        return value
    except (ValueError, RecursionError):
        return None
