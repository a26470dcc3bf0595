"""What version 0.1 left in storage, in XCom and in Airflow's database is understood, and makes nothing be
paid again.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.records import Record, Reuse, record_key
from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.model.submissions import build_submission
from airflow_provider_seedream.operators.seedream import SeedreamBatchOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor
from airflow_provider_seedream.triggers.base import fields_of
from tests.unit.values import TASK_ID

FINGERPRINT = "3c28054d1f5b020ffdfd09c777300a6a162c393105838e3bcb6feb64e509b416"
SUBMISSION: dict[str, Any] = {
    "prompt": "a watch",
    "image_size": "auto_2K",
    "num_images": 2,
    "enable_safety_checker": True,
    "seed": None,
    "kind": "generate",
    "take": 1,
}
TRY = {
    "dag_id": "watches",
    "run_id": "manual__2026-03-01",
    "task_id": "submit",
    "map_index": -1,
    "try_number": 1,
}

GENERATION = {
    "seedream_task_id": TASK_ID,
    "seedream_conn_id": "seedream_default",
    "num_images": 2,
    "first_poll_epoch": 1.0,
    "deadline_epoch": 2.0,
    "poke_interval": 10.0,
    "settling_seconds": 120.0,
    "outage_seconds": 1800.0,
}
# class path and arguments, as they stand in Airflow's database
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "generation, 0.1": (
        "airflow_provider_seedream.triggers.seedream.SeedreamGenerationTrigger",
        {**GENERATION, "watch": None},
    ),
    "generation, 0.2": (
        "airflow_provider_seedream.triggers.seedream.SeedreamGenerationTrigger",
        {
            **GENERATION,
            "watch": {"finished_epoch": 1.5, "outage_epoch": None},
            "image_size": "auto_2K",
            "kind": "generate",
            "created_epoch": 0.5,
        },
    ),
    "credits, 0.2": (
        "airflow_provider_seedream.triggers.credits.SeedreamCreditsTrigger",
        {
            "seedream_conn_id": "seedream_default",
            "min_credits": "150.50",
            "first_poll_epoch": 1.0,
            "deadline_epoch": 2.0,
            "poke_interval": 60.0,
            "outage_seconds": 1800.0,
            "watch": {"finished_epoch": None, "outage_epoch": 7.0},
        },
    ),
    "batch, 0.2": (
        "airflow_provider_seedream.triggers.batch.SeedreamBatchTrigger",
        {
            "seedream_conn_id": "seedream_default",
            "in_flight": [[TASK_ID, 1.0, 2.0, None, 2, None, None]],
            "wake_epoch": 2.0,
            "not_before_epoch": 1.0,
            "poke_interval": None,
            "settling_seconds": 120.0,
            "outage_seconds": 1800.0,
        },
    ),
    "turn, 0.2": (
        "airflow_provider_seedream.triggers.turns.SeedreamTurnTrigger",
        {
            "seedream_conn_id": "seedream_default",
            "requests_per_minute": 3.0,
            "asked_epoch": 1.0,
            "not_before_epoch": 1.0,
            "deadline_epoch": 2.0,
            "throttled_epoch": None,
            "retry_after_seconds": None,
            "granted_epoch": None,
        },
    ),
}


class TestTheSameRequest:
    def test_the_same_request_has_the_fingerprint_it_had(self) -> None:
        assert build_submission(**SUBMISSION).fingerprint == FINGERPRINT

    @pytest.mark.parametrize(
        ("reuse", "key"),
        [
            ("run", "59188fdf6d8c7349f27bf6ed19fa87e3b6feae1ae319879f89dce4684dac8e78"),
            ("content", "cc18c524c8ffaf202d31bd2f9fd6405a3405018a51562ac9cf237f27e19133da"),
        ],
    )
    def test_the_same_request_has_the_record_it_had(self, reuse: Reuse, key: str) -> None:
        who = {field: str(TRY[field]) for field in ("dag_id", "run_id", "task_id")}
        destination = "s3://aws_default@my-bucket/watches"
        assert (
            record_key(**who, destination=destination, name=None, fingerprint=FINGERPRINT, reuse=reuse) == key
        )


class TestWhatLiesThere:
    def test_a_record_is_read(self) -> None:
        record = {
            "schema_version": 1,
            "key": "94b6",
            "attempt": 1,
            "outcome": "landed",
            "claim": "961f907f109e4173af9abf0e24e9866c",
            "destination": "s3://aws_default@my-bucket/watches",
            "name": None,
            "submission": {**SUBMISSION, "sources": []},
            "fingerprint": FINGERPRINT,
            "credits": 20,
            "made_by": TRY,
            "intent_at": "2026-11-22T14:57:21Z",
            "settles_at": "2026-11-22T14:59:41Z",
            "wallet_balance": "100000.00",
            "seedream_task_id": TASK_ID,
            "created_at": "2026-11-22T14:57:21Z",
            "refunded": False,
            "detail": None,
            "updated_at": "2026-11-22T14:57:22Z",
        }
        assert Record.from_json(json.dumps(record).encode()).seedream_task_id == TASK_ID

    def test_a_manifest_is_read(self) -> None:
        image = {
            "number": 1,
            "file": "hero_1.png",
            "sha256": "a941",
            "size_bytes": 44917,
            "width": 256,
            "height": 256,
        }
        manifest = {
            "schema_version": 1,
            "seedream_task_id": TASK_ID,
            "name": "hero",
            "kind": "generate",
            "endpoint": "/v1/images/seedream/v5/lite/generate/",
            "submission": {**SUBMISSION, "sources": []},
            "credits": 20,
            "images_requested": 2,
            "images": [{**image, "media_type": "image/png", "thumbnail": None}],
            "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
            "created_at": "2026-11-22T14:57:21Z",
            "landed_at": "2026-11-22T14:57:22Z",
            "made_by": TRY,
            "landed_by": TRY,
            "record": None,
            "model": "seedream-v5-lite",
            "provider": "airflow-provider-seedream/0.1.0",
            "images_landed": 1,
        }
        assert Manifest.from_json(json.dumps(manifest).encode()).missing_images == 1


class TestWhatAirflowKeeps:
    def test_a_generation_in_xcom_is_read(self) -> None:
        value = {
            "schema_version": 1,
            "seedream_task_id": TASK_ID,
            "kind": "generate",
            "created_at": "2026-11-22T14:57:21Z",
            "num_images": 2,
            "credits": 20,
            "destination": "s3://aws_default@my-bucket/watches",
            "name": "hero",
            "record": None,
        }
        assert Generation.from_dict(value).image_size is None

    @pytest.mark.parametrize(("path", "row"), ROWS.values(), ids=list(ROWS))
    def test_a_deferred_wait_of_an_earlier_version_loads_with_the_arguments_that_it_has(
        self, path: str, row: dict[str, Any]
    ) -> None:
        trigger: BaseTrigger = import_string(path)(**json.loads(json.dumps(row)))
        class_path, arguments = trigger.serialize()
        assert class_path == path
        assert arguments == dict.fromkeys(set(arguments) - set(row)) | row

    @pytest.mark.parametrize(("path", "row"), ROWS.values(), ids=list(ROWS))
    def test_a_deferred_wait_of_an_earlier_version_ends_with_an_event_that_its_task_understands(
        self, path: str, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps({"conn_type": "seedream"}))
        trigger: BaseTrigger = import_string(path)(**row)

        async def first_event() -> TriggerEvent:
            return await anext(aiter(trigger.run()))

        event = json.loads(json.dumps(asyncio.run(first_event()).payload))
        assert fields_of(event) == event

    def test_a_task_goes_on_with_the_arguments_that_it_left(self) -> None:
        generation, started = {"generation": {}}, {"started_epoch": 1.0, "asked_epoch": 2.0}
        for method, arguments in (
            (SeedreamGenerateOperator.resume_landing, generation),
            (SeedreamGenerateOperator.resume_submission, {"started_epoch": 1.0}),
            (SeedreamGenerateOperator.resume_submission, started),
            (SeedreamBatchOperator.resume_waves, {"progress": "_seedream/batch/1/progress.json"}),
            (SeedreamCreditsSensor.resume_waiting, {}),
        ):
            assert inspect.signature(method).bind("self", "context", event={}, **arguments)
