#!/bin/bash
# A Delta table that has replaced a file of a null partition can no longer be vacuumed.
#
# Expected: DeltaTable.vacuum() lists the files that the current version no longer names, whatever their partition is.
# Happens: where one of them lies in a partition whose value is null, deltalake 1.5.0 raises DeltaError (found unmasked nulls for a
#   non-nullable "value"). The table is read, appended to and overwritten as before; only its old files stay for ever. Without a null, or
#   without a replaced file, vacuum works; so does that of 1.6.6, for the same table.
# Version: deltalake 1.5.0 (PyPI); 1.6.6 is not affected.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
cat >vacuum.py <<'EOF'
from importlib.metadata import version

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake


def vacuumed(name, teams):
    rows = pa.table({"prompt": ["a red fox", "a grey owl"], "team": pa.array(teams, pa.string())})
    for _ in range(2):  # the second time replaces the files of the first
        write_deltalake(name, rows, partition_by=["team"], mode="overwrite")
    assert DeltaTable(name).to_pyarrow_table().num_rows == 2
    try:
        return len(DeltaTable(name).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True))
    except Exception as error:
        return f"{type(error).__name__}: {'unmasked nulls' in str(error)}"


number = version("deltalake")
got = vacuumed(f"named-{number}", ["shop", "blog"]), vacuumed(f"null-{number}", ["shop", None])
print(f"deltalake {number}, old files that vacuum finds; partitions shop and blog: {got[0]}; shop and null: {got[1]}")
assert got == {"1.5.0": (2, "DeltaError: True"), "1.6.6": (2, 2)}[number]
EOF
for number in 1.5.0 1.6.6; do
    venv/bin/pip install -q --disable-pip-version-check "deltalake==$number" pyarrow==26.0.1 2>/dev/null
    venv/bin/python vacuum.py
done
echo AS DESCRIBED
