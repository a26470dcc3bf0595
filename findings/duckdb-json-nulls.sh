#!/bin/bash
# DuckDB reads the value of a late JSON line as NULL, in silence.
#
# Expected: a column that is null in the first lines of a .jsonl file and holds text further down is read as text, or
#   read_json says that the type does not fit, as it does for a column of integers in which text follows.
# Happens: a column that is null in the first 20,480 lines (the sample) gets the type "NULL", and each value behind them is NULL.
#   No error, no warning. A list that is empty in the sample becomes JSON[]: its texts come back with quotes around them.
#   One line earlier everything is right. sample_size=-1 or columns={...} reads the file as it is.
# Version: duckdb 2.0.1 (PyPI). Polars 2.1.0 raises ComputeError for the same file; pyarrow 26.0.1 reads it right.
# Source: run here; https://duckdb.org/docs/stable/data/json/loading_json documents sample_size, not that values are dropped.
#   Neighbours, not this: duckdb/duckdb#25826 (a key that comes late), #25786 (booleans and numbers that come late).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check duckdb==2.0.1 2>/dev/null
venv/bin/python - <<'EOF'
import json
import duckdb

SAMPLE = 20_480
print("duckdb", duckdb.__version__)


def table(nulls: int, column: str, before: object, after: object) -> str:
    rows = [{"row": row, column: before} for row in range(nulls)] + [{"row": nulls, column: after}]
    with open(f"{column}-{nulls}.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return f"'{column}-{nulls}.jsonl'"


def last(source: str, column: str) -> tuple:
    return duckdb.sql(f"select typeof({column}), {column} from {source} order by row desc limit 1").fetchall()[0]


late, early = table(SAMPLE, "detail", None, "timeout"), table(SAMPLE - 1, "detail", None, "timeout")
print("last line of both files:", {"detail": "timeout"})
print(f"text in line {SAMPLE}:", last(early, "detail"))
print(f"text in line {SAMPLE + 1}:", last(late, "detail"))
print("the same with sample_size=-1:", last(f"read_json({late}, sample_size=-1)", "detail"))
lists = last(table(SAMPLE, "images", [], ["s3://b/fox.png"]), "images")
print("a list that was empty before:", lists)
assert last(early, "detail") == ("VARCHAR", "timeout")
assert last(late, "detail") == ('"NULL"', None)
assert last(f"read_json({late}, sample_size=-1)", "detail") == ("VARCHAR", "timeout")
assert lists == ("JSON[]", ['"s3://b/fox.png"'])
print("AS DESCRIBED")
EOF
