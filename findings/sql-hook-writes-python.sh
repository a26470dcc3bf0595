#!/bin/bash
# A True that is inserted is found as not true.
#
# Expected: DbApiHook.insert_rows binds values as they are, so the driver stores them: True as a boolean, 5 as a number, a list is refused
#   or is JSON, bytes stay bytes.
# Happens: each value but None is turned into text before it is bound, by Python's str(). SQLite then keeps True as the text 'True', which
#   is false in a condition: the row with succeeded=True is found by WHERE NOT succeeded. A list becomes "['a.png']", which JSON
#   functions refuse; bytes become the text "b'\x89PNG'", a number in a column without a type is a text and no longer equals the number.
#   PostgresHook overrides this; hooks that do not (SQLite, and others made on DbApiHook) leave it to the database to read Python's text.
# Version: apache-airflow-providers-common-sql 2.4.0, apache-airflow-providers-sqlite 4.3.4, Airflow 3.3.2 (PyPI).
# Source: run here; DbApiHook._serialize_cell in airflow/providers/common/sql/hooks/sql.py ("return str(cell)").
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q venv
uv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-common-sql==2.4.0 apache-airflow-providers-sqlite==4.3.4
export AIRFLOW_CONN_DB="{\"conn_type\": \"sqlite\", \"host\": \"$dir/results.db\"}"
venv/bin/python - 2>/dev/null <<'EOF' | grep -v "Running statement\|Loaded"
from importlib.metadata import version

from airflow.providers.sqlite.hooks.sqlite import SqliteHook

hook = SqliteHook("db")
columns = ["succeeded", "images", "thumbnail", "note"]
row = (True, ["a.png"], b"\x89PNG", 5)
hook.run("CREATE TABLE by_hook (succeeded BOOLEAN, images JSON, thumbnail BLOB, note)")
hook.run("CREATE TABLE by_driver (succeeded BOOLEAN, images JSON, thumbnail BLOB, note)")
hook.insert_rows("by_hook", [row], target_fields=columns)
with hook.get_conn() as connection:  # the driver itself; it has no lists
    connection.execute("INSERT INTO by_driver VALUES (?, ?, ?, ?)", (True, '["a.png"]', *row[2:]))

print(*(f"{name} {version(f'apache-airflow-providers-{name}')}" for name in ("common-sql", "sqlite")))
seen = {}
for table in ("by_hook", "by_driver"):
    stored = hook.get_first(f"SELECT * FROM {table}")
    counts = [hook.get_first(f"SELECT count(*) FROM {table} WHERE {what}")[0] for what in ("succeeded", "NOT succeeded", "note = 5")]
    seen[table] = stored, counts
    print(f"{table}: {stored}   succeeded: {counts[0]}   NOT succeeded: {counts[1]}   note = 5: {counts[2]}")
assert seen["by_hook"] == (("True", "['a.png']", "b'\\x89PNG'", "5"), [0, 1, 0])
assert seen["by_driver"] == ((1, '["a.png"]', b"\x89PNG", 5), [1, 0, 1])
EOF
echo "AS DESCRIBED"
