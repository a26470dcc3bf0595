"""A process that does what Airflow's task runner does about metrics and traces, then runs four small DAGs
against an emulator.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from airflow.sdk import DAG
from opentelemetry import metrics, trace

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Runner

WAITING = {"deferrable": True, "poke_interval": 0.05, "timeout": 30}


def switch_on() -> None:
    """What the task runner and Airflow's settings do at the start of a process; Airflow 3.1 does it by
    itself.
    """
    with suppress(ImportError):
        from airflow.sdk._shared.observability.traces import configure_otel
        from airflow.sdk.configuration import conf
        from airflow.sdk.observability import stats
        from airflow.sdk.observability.metrics import stats_utils

        if hasattr(stats, "initialize"):
            stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
        else:  # Airflow 3.2
            stats.Stats.initialize(factory=stats_utils.get_stats_factory(stats.Stats))
        configure_otel(conf)


def submit_and_land(destination: str, prompt: str) -> None:
    with DAG("watches", schedule=None):
        submit = SeedreamGenerateOperator(
            task_id="submit", prompt=prompt, num_images=2, destination=destination, retries=0
        )
        land = SeedreamGenerationSensor(task_id="land", generation=submit.output, retries=0, **WAITING)
    runner = Runner()
    if runner.run(submit).state == "success":
        with trace.get_tracer(__name__).start_as_current_span("the task's own"):
            runner.run(land)


def main(destination: str) -> None:
    logging.disable()
    switch_on()
    for prompt in (
        "a watch",
        "a watch [status/rate-limited:0*1]",
        "a watch [fail]",
        "a watch [drop-after-accept]",
    ):
        submit_and_land(destination, prompt)
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        with suppress(AttributeError):  # where it is not switched on
            provider.force_flush()


if __name__ == "__main__":
    main(sys.argv[1])
