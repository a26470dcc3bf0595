#!/bin/bash
# A prompt with a quote in it loses all that follows.
#
# Expected: DeltaTable.update(new_values=...) takes "column name to python datatype", as its docstring says, so a text is stored as it is.
# Happens: the text is put between quotes unchanged, and its own quotes end it. With two of them the rest is dropped without a word: of
#   "a 'red' fox" the table keeps "a ", of "'hare'" nothing. With one of them the call fails. write_deltalake and merge store the same
#   texts whole.
# Version: deltalake 1.6.6 (PyPI).
# Source: run here; DeltaTable.update in deltalake/table.py ("value = f\"'{value}'\"").
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1 2>/dev/null
venv/bin/python - <<'EOF'
from importlib.metadata import version

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyarrow.parquet import read_table


def stored(table):
    [path] = table.file_uris()
    return read_table(path.removeprefix("file://"))["prompt"].to_pylist()


def updated(text):
    write_deltalake("wanted", pa.table({"prompt": ["old"]}), mode="overwrite")
    table = DeltaTable("wanted")
    try:
        table.update(new_values={"prompt": text})
    except Exception as error:
        return f"{type(error).__name__}"
    return stored(table)[0]


def merged(text):
    write_deltalake("merged", pa.table({"prompt": ["old"], "sku": [7]}), mode="overwrite")
    table, source = DeltaTable("merged"), pa.table({"prompt": [text], "sku": [7]})
    table.merge(source, "t.sku = s.sku", source_alias="s", target_alias="t").when_matched_update_all().execute()
    return stored(table)[0]


print("deltalake", version("deltalake"))
texts = ["a red fox", "a 'red' fox", "'hare'", "the fox's den and the hare's", "the fox's den"]
seen = [(updated(text), merged(text)) for text in texts]
for text, (by_update, by_merge) in zip(texts, seen, strict=True):
    print(f"{text!r}: update keeps {by_update!r}, merge {by_merge!r}")
assert [by_merge for _, by_merge in seen] == texts
assert [by_update for by_update, _ in seen] == ["a red fox", "a ", "", "the fox", "DeltaError"]
EOF
echo "AS DESCRIBED"
