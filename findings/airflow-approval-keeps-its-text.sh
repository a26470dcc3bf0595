#!/bin/bash
# A person is asked again with the words of the first time.
#
# Expected: an ApprovalOperator whose run was cleared asks with the body that its new try has rendered: with the new prompt, the new pictures.
# Happens: the clear gives the task instance a new id, and the row of the question moves with it. The new try sends its subject, body and options;
#   the server finds the row and keeps the old ones, removing only the answer. The page of the second try shows the first text, and
#   the answer to it lets the run go on with what the second try has made.
# Version: apache-airflow-core 3.3.2; uv installs it (PyPI).
# Source: run here; upsert_hitl_detail in airflow/api_fastapi/execution_api/routes/hitl.py (cases 2 and 3 of its docstring); also seen in a browser.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export AIRFLOW_HOME=$dir/home
unset PYTHONDONTWRITEBYTECODE
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q airflow
uv/bin/uv pip install -q --python airflow/bin/python "apache-airflow-core==3.3.2" "apache-airflow-task-sdk==1.3.2"
airflow/bin/python - 2>/dev/null <<'EOF'
from importlib.metadata import version
from uuid import uuid4

from airflow.api_fastapi.execution_api.datamodels.hitl import HITLDetailRequest
from airflow.api_fastapi.execution_api.routes.hitl import upsert_hitl_detail
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.hitl import HITLDetail
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

import_all_models()
engine = create_engine("sqlite://")
Base.metadata.create_all(engine)
task_instance = uuid4()


def ask(session, body):
    question = {"ti_id": task_instance, "subject": "Publish?", "options": ["Approve", "Reject"], "body": body}
    upsert_hitl_detail(task_instance, HITLDetailRequest(**question), session)
    session.flush()


with Session(engine) as session:
    ask(session, "a red teapot")
    ask(session, "a green bicycle")  # as the next try does; only the id of the task instance is another then, and the row's with it
    shown = session.scalars(select(HITLDetail.body)).all()
print(f"airflow-core {version('apache-airflow-core')}: asked with 'a green bicycle', shown: {shown}")
assert shown == ["a red teapot"]
EOF
echo "AS DESCRIBED"
