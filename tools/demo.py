"""`make demo`: the generate -> land example under a real Airflow, against the emulator, into ./demo-output/.

A real scheduler, worker, triggerer and API server, as `airflow dags test` would leave out retries and the
triggerer and is no faster. Everything it starts ends with it; logs stay in .airflow/demo/ and are shown when
something fails.
"""

# ruff: noqa: T201 - it speaks to the person who ran it

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from airflow_provider_seedream.emulator import Emulator, Settings
from tools.local_airflow import LocalAirflow
from tools.signals import ending_cleanly

_CHECKOUT = Path(__file__).parents[1]
_HOME, _OUTPUT = _CHECKOUT / ".airflow" / "demo", _CHECKOUT / "demo-output"
_DAG = "example_seedream_generate"


def main(dags: Path = _CHECKOUT / "example_dags") -> int:
    started = time.monotonic()
    shutil.rmtree(_HOME, ignore_errors=True)
    _OUTPUT.mkdir(exist_ok=True)
    print("Starting a real Airflow and the Seedream emulator ...", flush=True)
    with ending_cleanly(), Emulator(Settings(speed=10)) as emulator:
        connection = {
            **json.loads(emulator.airflow_connection_json()),
            "extra": {"destination": _OUTPUT.as_uri()},
        }
        settings = {
            "AIRFLOW_CONN_SEEDREAM_DEFAULT": json.dumps(connection),
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "2",  # nobody waits five minutes before a demo
        }
        with LocalAirflow(_HOME, dags=dags, settings=settings) as airflow:
            print(f"Running {_DAG} ...", flush=True)
            landed = _run(airflow)
        counters = emulator.books.counters()
        _report(
            landed, balance=emulator.balance_credits, counters=counters, seconds=time.monotonic() - started
        )
    return 0


def _run(airflow: LocalAirflow) -> dict[str, Any]:
    """Trigger the DAG, wait for its end, and give what its last task returned."""
    airflow.wait("the example DAG is there", lambda: airflow.has_dag(_DAG), timeout_seconds=300)
    run = airflow.trigger_dag(_DAG)
    state = airflow.wait(
        "the example has ended", lambda: airflow.dag_run_ended(_DAG, run), timeout_seconds=600
    )
    if state != "success":
        raise RuntimeError(f"{airflow.evidence()}\nthe DAG run is {state}")
    return dict(airflow.xcom(_DAG, run, "land"))


def _report(landed: dict[str, Any], *, balance: int, counters: dict[str, Any], seconds: float) -> None:
    images = [_path(image["uri"]) for image in landed["images"]]
    for path in [*images, _path(landed["manifest"])]:
        if not path.is_file():
            raise RuntimeError(f"{path} is missing")
    print("Images:", *(f"  {path.relative_to(_CHECKOUT)}" for path in images), sep="\n")
    print(f"Manifest:\n  {_path(landed['manifest']).relative_to(_CHECKOUT)}")
    print(
        f"Cost: {landed['credits']} credits of the emulator's wallet, {balance} left; nothing was really "
        "paid."
    )
    print(f"demo: ok, {len(images)} images landed in demo-output/ in {seconds:.0f} s")


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, TimeoutError) as error:
        print(error, file=sys.stderr)
        print(f"demo: failed; the logs are in {_HOME.relative_to(_CHECKOUT)}/", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("demo: interrupted, everything it started has ended", file=sys.stderr)
        sys.exit(130)
