#!/bin/bash
# A column that the first rows do not have is gone.
#
# Expected: rows as dictionaries, or JSON lines, of which some have one more field: the table has a column for it, null elsewhere, or the
#   reader complains. pandas and pyarrow.json make the column.
# Happens: pyarrow.Table.from_pylist takes the columns of the first row and drops all others, without a word. Polars takes those of the
#   first 100 rows: DataFrame(rows), from_dicts, read_ndjson and scan_ndjson drop what comes later. The note that says why row 150
#   failed is in no table.
# Version: pyarrow 26.0.1, polars 2.1.0, pandas 3.1.1 (PyPI).
# Source: run here; Table.from_pylist in pyarrow/table.pxi ("names = list(mapping[0].keys())"); infer_schema_length=100 of the four in Polars.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1 2>/dev/null
venv/bin/python - <<'EOF'
import json
from importlib.metadata import version

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.json

rows = [{"row": number} for number in range(1, 150)] + [{"row": 150, "detail": "the price changed"}]
with open("results.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)
columns = {
    "pyarrow.Table.from_pylist(rows)": pa.Table.from_pylist(rows).column_names,
    "pyarrow.Table.from_pylist(last two rows)": pa.Table.from_pylist(rows[-2:]).column_names,
    "polars.DataFrame(rows)": pl.DataFrame(rows).columns,
    "polars.from_dicts(rows)": pl.from_dicts(rows).columns,
    "polars.read_ndjson": pl.read_ndjson("results.jsonl").columns,
    "polars.scan_ndjson": pl.scan_ndjson("results.jsonl").collect().columns,
    "polars.read_ndjson(infer_schema_length=None)": pl.read_ndjson("results.jsonl", infer_schema_length=None).columns,
    "pyarrow.json.read_json": pyarrow.json.read_json("results.jsonl").column_names,
    "pandas.read_json(lines=True)": list(pd.read_json("results.jsonl", lines=True).columns),
}
print(*(f"{name} {version(name)}" for name in ("pyarrow", "polars", "pandas")))
for call, found in columns.items():
    print(f"{call}: {found}")
assert list(columns.values()) == [["row"]] * 6 + [["row", "detail"]] * 3
EOF
echo "AS DESCRIBED"
