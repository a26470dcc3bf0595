"""`make ui`: Airflow's user interface on 127.0.0.1 with the example DAGs, the connection, the emulator, and
images to look at.

Runs until Ctrl-C and ends everything it started. Its state lives in .airflow/ui/ and starts afresh each time.
"""

# ruff: noqa: T201 - it speaks to the person who ran it

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path

from airflow_provider_seedream.emulator import Emulator, Settings
from tools.local_airflow import LocalAirflow
from tools.processes import HeldPort
from tools.signals import ending_cleanly

_CHECKOUT = Path(__file__).parents[1]
_HOME, _OUTPUT = _CHECKOUT / ".airflow" / "ui", _CHECKOUT / "demo-output"
_PORT = 8080
# so that the gallery has images
_SHOWN = ("example_seedream_approval", "example_seedream_campaign", "example_seedream_generate")
_SETTINGS = {
    "AIRFLOW__API__DEFAULT_WRAP": "True",  # of log lines, which the page cuts off otherwise
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    "AIRFLOW__SEEDREAM__GALLERY_ROOTS": _OUTPUT.as_uri(),
}


def main() -> int:
    shutil.rmtree(_HOME, ignore_errors=True)
    _OUTPUT.mkdir(exist_ok=True)
    asked = os.environ.get("PORT")
    try:
        port = HeldPort(int(asked)) if asked else HeldPort.preferring(_PORT)
    except OSError as error:
        raise RuntimeError(
            f"ui: port {asked} is taken ({error}); name another one in PORT, or none"
        ) from None
    began = time.monotonic()

    def say(step: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {step} ...", flush=True)

    say("starting the emulator")
    with (
        ending_cleanly(),
        Emulator(Settings(speed=5, rate_limit_per_minute=60)) as emulator,
        LocalAirflow(
            _HOME, dags=_CHECKOUT / "example_dags", settings=_SETTINGS, port=port, say=say
        ) as airflow,
    ):
        connection = json.loads(emulator.airflow_connection_json())
        # The form shows the fields that have a value, and the list's test button of 3.3.2 takes a missing
        # port for another one. `verify` is no text: Airflow would take that for a secret, too short to be
        # masked, and warn in every log.
        extra = {
            "destination": _OUTPUT.as_uri(),
            "requests_per_minute": 60,
            "request_timeout_seconds": 60,
            "verify": True,
        }
        airflow.add_connection("seedream_default", **connection, port=0, extra=json.dumps(extra))
        print(f"Airflow:  {airflow.url}   user {airflow.user}   password {airflow.password}")
        print(f"Images:   {airflow.url}/plugin/seedream   (the first in a minute)")
        print(f"Approval: {airflow.url}/required_actions")
        print(f"Emulator: {emulator.url}   books at {emulator.url}/__admin/books")
        print("Images land in demo-output/. Ctrl-C ends everything.", flush=True)
        _run_some(airflow)
        while True:
            airflow.check()
            time.sleep(1)


def _run_some(airflow: LocalAirflow) -> None:
    """Runs of some examples, one of which waits for a person's approval.

    One after the other: the price of a request is measured in the wallet, and two runs that spend at the same
    moment would each warn of a wrong price.
    """
    for name in _SHOWN:
        airflow.wait(f"{name} parsed", partial(airflow.has_dag, name), timeout_seconds=120)
        run_id = airflow.trigger_dag(name)
        airflow.wait(f"{name} submitted", partial(_has_submitted, airflow, name, run_id), timeout_seconds=300)


def _has_submitted(airflow: LocalAirflow, dag_id: str, run_id: str) -> bool:
    states = airflow.task_states(dag_id, run_id, "submit")
    return bool(states) and all(state in ("success", "failed") for state in states)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nui: ended, and everything it started", file=sys.stderr)
