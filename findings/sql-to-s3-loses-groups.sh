#!/bin/bash
# Of a table that is split by two columns a part of the rows is uploaded.
#
# Expected: SqlToS3Operator "saves data from a specific SQL query into a file in S3"; groupby_kwargs "will be passed to pandas groupby()", which
#   takes several columns, as its docs say. So by=["look", "size"] writes one file for each look and size, and all rows are in one.
# Happens: a file is named after the first column only. The files of one look have one key, and each replaces the one before: of the
#   sizes of a look the last one is kept. No error, the task is green. With replace=False it fails with "The key ... already exists"
#   in an empty bucket, when the first file is there. Rows whose look is NULL are in no file, by one column or two, as pandas drops them
#   ("dropna": False keeps them), and rows whose look is an empty text are in the file without a look.
# Version: apache-airflow-providers-amazon 9.39.0 with Airflow 3.3.2, pandas 3.1.1; uv installs them (PyPI).
# Source: run here; SqlToS3Operator._partition_dataframe ("group_label[0]") and execute in airflow/providers/amazon/aws/transfers/sql_to_s3.py.
#   The docs: transfer/sql_to_s3, "Grouping". The store is moto's.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" "${!AWS_@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q venv
uv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-amazon==9.39.0 apache-airflow-providers-sqlite==4.3.4 pandas==3.1.1 "moto[s3]==5.2.5"
export AIRFLOW_CONN_DB="{\"conn_type\": \"sqlite\", \"host\": \"$dir/results.db\"}"
export AIRFLOW_CONN_AWS_DEFAULT='{"conn_type": "aws", "login": "key", "password": "secret", "extra": {"region_name": "us-east-1"}}'
venv/bin/python - 2>/dev/null <<'EOF' | grep -v "\[info\|\[warning"
import csv
import sqlite3
from importlib.metadata import version

import boto3
from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator
from moto import mock_aws

ROWS = [(1, "fox", "1K"), (2, "fox", "2K"), (3, "fox", "4K"), (4, "owl", "2K"), (5, None, "2K"), (6, "", "2K")]
with sqlite3.connect("results.db") as database:
    database.execute("CREATE TABLE results (number INTEGER, look TEXT, size TEXT)")
    database.executemany("INSERT INTO results VALUES (?, ?, ?)", ROWS)


@mock_aws
def uploaded(replace=True, **groupby):
    """The numbers of the rows in each file, and the error if there was one."""
    s3 = boto3.client("s3", "us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    s3.create_bucket(Bucket="tables")
    query, error = "SELECT * FROM results ORDER BY number", None
    operator = SqlToS3Operator(
        task_id="upload", query=query, sql_conn_id="db", s3_bucket="tables", s3_key="night.csv", replace=replace, groupby_kwargs=groupby
    )
    try:
        operator.execute({})
    except ValueError as refused:
        error = str(refused)
    files = {item["Key"]: s3.get_object(Bucket="tables", Key=item["Key"]) for item in s3.list_objects_v2(Bucket="tables")["Contents"]}
    texts = {key: file["Body"].read().decode().splitlines() for key, file in files.items()}
    return {key: [int(row["number"]) for row in csv.DictReader(lines)] for key, lines in texts.items()}, error


print(f"amazon {version('apache-airflow-providers-amazon')}, pandas {version('pandas')}; rows: {ROWS}")
ways = [{}, {"by": ["look", "size"]}, {"by": ["look", "size"], "replace": False}, {"by": "look"}, {"by": "look", "dropna": False}]
seen = [uploaded(**way) for way in ways]
for way, (files, error) in zip(ways, seen, strict=True):
    print(f"{way}: {files}{f', {error}' if error else ''}")
assert seen == [
    ({"night.csv": [1, 2, 3, 4, 5, 6]}, None),
    ({"night.csv": [6], "night_fox.csv": [3], "night_owl.csv": [4]}, None),
    ({"night.csv": [6], "night_fox.csv": [1]}, "The key night_fox.csv already exists."),
    ({"night.csv": [6], "night_fox.csv": [1, 2, 3], "night_owl.csv": [4]}, None),
    ({"night.csv": [6], "night_fox.csv": [1, 2, 3], "night_nan.csv": [5], "night_owl.csv": [4]}, None),
]
EOF
echo "AS DESCRIBED"
