"""The same images by five DAGs: three of ours, and two that one would write without the provider.

Each is the body of a ``with DAG(...)``; it finds ``PROMPTS``, ``URL``, ``KEY``, ``FOLDER`` and ``POKE``
there. The last two write ``<seedream task id>.png``, look at nothing, and remember nothing: they show what
waiting and starting costs.
"""

from __future__ import annotations

HEAD = """
import time
from pathlib import Path

import requests
from airflow.sdk import DAG, task

PROMPTS, URL, KEY, FOLDER, POKE = {prompts!r}, {url!r}, {key!r}, {folder!r}, 5
GENERATE, STATUS = "v1/images/seedream/v5/lite/generate/", "v1/generation-request/{{}}/status/"
HEADERS = {{"Authorization": "Bearer " + KEY, "Content-Type": "application/json"}}
USUAL = {{"seedream_conn_id": {dag_id!r}, "num_images": 1}}


def download(seedream_task_id, results):
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
    (Path(FOLDER) / (seedream_task_id + ".png")).write_bytes(requests.get(results[0]["asset"], timeout=60).content)


def look(seedream_task_id):
    return requests.get(URL + "/" + STATUS.format(seedream_task_id), headers=HEADERS, timeout=60).json()


def is_ready(answer):
    return answer["status"] == "FINISHED" and bool(answer["results"]) and bool(answer["results"][0]["asset"])


with DAG({dag_id!r}, schedule=None, max_active_tasks=64):
"""

CHAIN = """
    from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
    from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

    submit = SeedreamGenerateOperator.partial(task_id="submit", **USUAL).expand(prompt=PROMPTS)
    SeedreamGenerationSensor.partial(task_id="land", seedream_conn_id=USUAL["seedream_conn_id"], deferrable=True).expand(
        generation=submit.output
    )
"""

WAIT = """
    from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator

    SeedreamGenerateOperator.partial(task_id="make", wait=True, deferrable=True, **USUAL).expand(prompt=PROMPTS)
"""

BATCH = """
    from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

    SeedreamBatchOperator(
        task_id="batch",
        seedream_conn_id=USUAL["seedream_conn_id"],
        requests=[{"prompt": prompt, "num_images": 1} for prompt in PROMPTS],
        deferrable=%s,
    )
"""

LOOP = """
    @task
    def make(prompt):
        body = {"prompt": prompt, "image_size": "square", "num_images": 1}
        seedream_task_id = requests.post(URL + "/" + GENERATE, headers=HEADERS, json=body, timeout=60).json()["task_id"]
        while not is_ready(answer := look(seedream_task_id)):
            time.sleep(POKE)
        download(seedream_task_id, answer["results"])

    make.expand(prompt=PROMPTS)
"""

HTTP = """
    import json

    from airflow.providers.http.operators.http import HttpOperator
    from airflow.providers.http.sensors.http import HttpSensor

    def body(prompt):
        return json.dumps({"prompt": prompt, "image_size": "square", "num_images": 1})

    def endpoint(seedream_task_id):
        return STATUS.format(seedream_task_id)

    submit = HttpOperator.partial(
        task_id="submit", http_conn_id="http_" + USUAL["seedream_conn_id"], endpoint=GENERATE, method="POST", headers=HEADERS,
        response_filter=lambda response: response.json()["task_id"],
    ).expand(data=[body(prompt) for prompt in PROMPTS])
    ready = HttpSensor.partial(
        task_id="ready", http_conn_id="http_" + USUAL["seedream_conn_id"], method="GET", headers=HEADERS, poke_interval=POKE,
        deferrable=True, mode="reschedule", response_check=lambda response: is_ready(response.json()),
    ).expand(endpoint=submit.output.map(endpoint))

    @task
    def land(seedream_task_id):
        download(seedream_task_id, look(seedream_task_id)["results"])

    ready >> land.expand(seedream_task_id=submit.output)
"""

DAGS = {
    "submission and sensor, mapped": CHAIN,
    "wait=True, mapped": WAIT,
    "one batch": BATCH % False,
    "one batch, deferred": BATCH % True,
    "@task with a polling loop, mapped": LOOP,
    "HttpOperator, HttpSensor, @task, mapped": HTTP,
}
