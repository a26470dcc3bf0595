#!/bin/bash
# DuckDB replaces a column of a file by a piece of the file's path.
#
# Expected: `select sku from '/.../sku=7/results.parquet'` gives what the file holds in its column sku, as pandas, Polars and pyarrow do.
# Happens: a folder named key=value makes DuckDB read that one file as part of a Hive data set, without being asked, for Parquet and for
#   JSON: the path's value stands in every row instead of the column's, and with another type (text '00123' becomes the integer 7).
#   hive_partitioning=false reads the file. Destinations with {{ ds }} are often named ds=2026-11-22.
# Version: duckdb 2.0.1; compared with pyarrow 26.0.1, Polars 2.1.0 (PyPI).
# Source: run here; the detection is documented at https://duckdb.org/docs/stable/data/partitioning/hive_partitioning, that it
#   goes before the file's own column only in duckdb/duckdb#5901.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0 2>/dev/null
venv/bin/python - <<'EOF'
import os
import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

print("duckdb", duckdb.__version__)
os.makedirs("shop/sku=7")
pq.write_table(pa.table({"sku": ["00123"], "status": ["landed"]}), "shop/sku=7/results.parquet")
with open("shop/sku=7/results.jsonl", "w") as file:
    file.write('{"sku": "00123", "status": "landed"}\n')
read = {
    "pyarrow": pq.read_table("shop/sku=7/results.parquet")["sku"].to_pylist(),
    "polars": polars.read_parquet("shop/sku=7/results.parquet")["sku"].to_list(),
    "duckdb": [row[0] for row in duckdb.sql("select sku from 'shop/sku=7/results.parquet'").fetchall()],
    "duckdb, JSON": [row[0] for row in duckdb.sql("select sku from 'shop/sku=7/results.jsonl'").fetchall()],
    "duckdb, hive_partitioning=false": [
        row[0] for row in duckdb.sql("select sku from read_parquet('shop/sku=7/results.parquet', hive_partitioning=false)").fetchall()
    ],
}
for reader, sku in read.items():
    print(f"{reader:32}", sku)
assert list(read.values()) == [["00123"], ["00123"], [7], [7], ["00123"]]
assert duckdb.sql("select * from 'shop/sku=7/results.parquet' where sku = '00123'").fetchall() == []
print("AS DESCRIBED")
EOF
