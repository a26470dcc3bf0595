#!/bin/bash
# What was written as the text 007 is read as the number 7.
#
# Expected: a table that is partitioned by a column of text comes back with that text: the writer knew the type, and Parquet keeps types.
# Happens: the value stands in a folder's name only (sku=007), and readers guess its type from all names. pyarrow and pandas read the
#   integer 7 from what they have written themselves, and Polars reads it there too. One name with a letter beside it makes all of them
#   texts again: the type of a column hangs on the other rows of that night, two nights have two types, and a join with the catalogue
#   finds no row. DuckDB reads '007' both nights.
# Version: pyarrow 26.0.1, pandas 3.1.1, polars 2.1.0, duckdb 2.0.1 (PyPI).
# Source: run here; pyarrow/dataset.py, partitioning(flavor="hive"): "types will be inferred";
#   try_parse_hive_dates and hive_schema of polars.read_parquet say what can be told instead, as partitioning=/schema= do in pyarrow.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 2>/dev/null
venv/bin/python - <<'EOF'
from importlib.metadata import version

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

nights = {"monday": ["007", "010"], "tuesday": ["007", "01a"]}
seen = {}
for night, skus in nights.items():
    pq.write_to_dataset(pa.table({"sku": pa.array(skus, pa.string()), "image": ["a.png", "b.png"]}), night, partition_cols=["sku"])
    pd.DataFrame({"sku": skus, "image": ["a.png", "b.png"]}).to_parquet(f"{night}-pandas", partition_cols=["sku"])
    seen[night] = {
        "pyarrow": pq.read_table(night).sort_by("image")["sku"].to_pylist(),
        "pandas": pd.read_parquet(f"{night}-pandas").sort_values("image")["sku"].tolist(),
        "polars": pl.read_parquet(night).sort("image")["sku"].to_list(),
        "duckdb": [sku for (sku,) in duckdb.sql(f"SELECT sku FROM read_parquet('{night}/*/*.parquet') ORDER BY image").fetchall()],
    }
print(*(f"{name} {version(name)}" for name in ("pyarrow", "pandas", "polars", "duckdb")))
for night, skus in nights.items():
    print(f"{night}, written: {skus}", *(f"  {library}: {read}" for library, read in seen[night].items()), sep="\n")
for library in ("pyarrow", "pandas", "polars"):
    assert seen["monday"][library] == [7, 10]
    assert seen["tuesday"][library] == ["007", "01a"]
assert [seen[night]["duckdb"] for night in nights] == list(nights.values())
EOF
echo "AS DESCRIBED"
