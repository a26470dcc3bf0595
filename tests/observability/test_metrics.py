"""Metrics and spans as a StatsD server and an OTLP collector get them from a process that is set up as
Airflow sets up tasks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import airflow
import pytest
from packaging.version import Version

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.finish import already_landed, land_generation
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.observability import metrics
from airflow_provider_seedream.observability.metrics import METRICS, SPANS
from tests.observability.receivers import Collector, StatsD, collector, statsd
from tests.unit.values import KEY, submission
from tools.processes import wait_until

CHECKOUT = Path(__file__).parents[2]
COUNTERS = {
    "seedream.submissions": 3,
    "seedream.credits_spent": 60,
    "seedream.credits_refunded": 20,
    "seedream.unknown_outcomes": 1,
    "seedream.credits_at_risk": 20,
    "seedream.generations.landed": 2,
    "seedream.generations.partial": 0,
    "seedream.generations.failed": 1,
    "seedream.generations.expired": 0,
    "seedream.rate_limited": 1,
}
no_task_traces = Version(airflow.__version__) < Version("3.2")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(Settings.fast(key=KEY, flat_images=True)) as running:
        yield running


@pytest.fixture(autouse=True)
def books(emulator: Emulator) -> None:
    emulator.reset()


def run_subject(emulator: Emulator, folder: Path, **config: Any) -> None:
    """Run four DAGs in a process with this Airflow configuration: two land, one fails, one answer gets
    lost.
    """
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW_CONN_SEEDREAM_DEFAULT": emulator.airflow_connection_json(),
        **{name: str(value) for name, value in config.items()},
    }
    command = [sys.executable, "-m", "tests.observability.subject", f"file://{folder}/images"]
    ended = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def counted(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> StatsD:
    """What a StatsD server got."""
    with statsd() as server:
        run_subject(
            emulator,
            tmp_path_factory.mktemp("statsd"),
            AIRFLOW__METRICS__STATSD_ON=True,
            AIRFLOW__METRICS__STATSD_HOST="127.0.0.1",
            AIRFLOW__METRICS__STATSD_PORT=server.port,
        )
    return server


@pytest.fixture(scope="module")
def collected(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Collector:
    """What an OTLP collector got."""
    with collector() as server:
        run_subject(
            emulator,
            tmp_path_factory.mktemp("otel"),
            AIRFLOW__METRICS__OTEL_ON=True,
            AIRFLOW__METRICS__OTEL_HOST="127.0.0.1",
            AIRFLOW__METRICS__OTEL_PORT=server.port,
            AIRFLOW__TRACES__OTEL_ON=True,
            OTEL_TRACES_EXPORTER="otlp_proto_http",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"http://127.0.0.1:{server.port}/v1/traces",
        )
    return server


class TestStatsD:
    @pytest.mark.parametrize("name", COUNTERS)
    def test_it_counts_what_happened(self, counted: StatsD, name: str) -> None:
        assert counted.counters[f"airflow.{name}"] == COUNTERS[name]

    def test_it_counts_every_poll(self, counted: StatsD) -> None:
        # at least one poll and one before each landing
        assert counted.counters["airflow.seedream.polls"] >= 3 * 2

    @pytest.mark.parametrize("name", ["seedream.waiting", "seedream.landing"])
    def test_it_times_each_landing_in_milliseconds(self, counted: StatsD, name: str) -> None:
        assert len(counted.timers[f"airflow.{name}"]) == 2
        assert all(0 < value < 60_000 for value in counted.timers[f"airflow.{name}"])

    def test_no_name_is_sent_that_the_table_lacks(self, counted: StatsD) -> None:
        sent = {name.removeprefix("airflow.") for name in (*counted.counters, *counted.timers)}
        assert {name for name in sent if name.startswith("seedream.")} <= {metric.name for metric in METRICS}


class TestOpenTelemetry:
    @pytest.mark.parametrize("name", COUNTERS)
    def test_it_counts_what_happened(self, collected: Collector, name: str) -> None:
        assert collected.total(f"airflow.{name}") == COUNTERS[name]

    def test_counters_name_the_dag_and_the_task(self, collected: Collector) -> None:
        tags = {tags for (name, tags) in collected.counters if name == "airflow.seedream.submissions"}
        assert tags == {frozenset({("dag_id", "watches"), ("task_id", "submit")})}

    @pytest.mark.skipif(
        no_task_traces, reason="Airflow 3.1 gives OpenTelemetry the last duration alone, as a gauge"
    )
    def test_it_times_each_landing(self, collected: Collector) -> None:
        assert collected.timers["airflow.seedream.landing"][0] == 2

    @pytest.mark.skipif(no_task_traces, reason="Airflow 3.1 traces no tasks from within")
    def test_the_spans_are_those_of_the_table_and_children_of_the_tasks(self, collected: Collector) -> None:
        assert {span.name for span in collected.spans if span.name.startswith("seedream.")} == set(SPANS)
        tasks = {span.span_id for span in collected.spans if span.name == "the task's own"}
        landings = [span for span in collected.spans if span.name == "seedream.land"]
        assert len(landings) == 2
        assert {span.parent_span_id for span in landings} <= tasks

    @pytest.mark.skipif(no_task_traces, reason="Airflow 3.1 traces no tasks from within")
    def test_a_span_holds_neither_prompt_nor_link_nor_key(self, collected: Collector) -> None:
        for text in ("a watch", "http", KEY):
            assert not [
                span for span in collected.spans if span.name.startswith("seedream.") and text in str(span)
            ]

    @pytest.mark.skipif(no_task_traces, reason="Airflow 3.1 traces no tasks from within")
    def test_an_error_is_told_by_its_class(self, collected: Collector) -> None:
        said = {span.status.message for span in collected.spans if span.name == "seedream.submit"}
        assert said == {"", "SeedreamAmbiguousSubmissionError"}


class TestTrouble:
    def test_a_backend_that_raises_loses_a_metric_and_no_task(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow.providers.common.compat import sdk

        class Broken:
            def incr(self, *_: Any, **__: Any) -> None:
                raise ValueError("no such name")

        monkeypatch.setattr(sdk, "Stats", Broken(), raising=False)
        metrics.polled()
        metrics.submitted(10, TaskRef(dag_id="watches", run_id="monday", task_id="submit"))


class TestABareId:
    def test_it_counts_once_however_often_it_is_found_landed(
        self, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.providers.common.compat import sdk

        counted = []

        class Counting:
            def incr(self, stat: str, *_: Any, **__: Any) -> None:
                counted.append(stat)

        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", emulator.airflow_connection_json())
        hook = SeedreamHook()
        bare = Generation.bare(
            hook.submit(submission()).seedream_task_id, destination=tmp_path.as_uri(), name="found"
        )
        monkeypatch.setattr(sdk, "Stats", Counting(), raising=False)
        wait_until(
            lambda: hook.get_generation(bare.seedream_task_id).images_ready,
            what="the images",
            timeout_seconds=30,
        )
        with hook.downloads(max_bytes=10_000_000) as downloads:
            land_generation(bare, hook, downloads, landed_by=TaskRef())
        assert [already_landed(bare) is not None for _ in range(2)] == [True, True]
        assert counted.count("seedream.generations.landed") == 1
