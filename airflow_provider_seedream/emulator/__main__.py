"""``python -m airflow_provider_seedream.emulator``: the emulator in the foreground, until SIGTERM or Ctrl-C.

Prints one line of JSON once it listens; everything else is at ``/__admin/``.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence

from airflow_provider_seedream.emulator.server import Emulator
from airflow_provider_seedream.emulator.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        emulator = Emulator(_settings(options), port=options.port, storage_port=options.storage_port).start()
    except (OSError, ValueError) as wrong:
        print(f"seedream emulator: {wrong}", file=sys.stderr)
        return 2
    print(json.dumps(_greeting(emulator)), flush=True)
    stop.wait()
    emulator.stop()
    return 0


def _greeting(emulator: Emulator) -> dict[str, str]:
    return {
        "url": emulator.url,
        "storage_url": emulator.storage_url,
        "key": emulator.key,
        **({"ca_file": emulator.ca_file} if emulator.ca_file else {}),
        "AIRFLOW_CONN_SEEDREAM_DEFAULT": emulator.airflow_connection_json(),
    }


def _settings(options: argparse.Namespace) -> Settings:
    base = Settings.fast() if options.fast else Settings()
    chosen = {
        "key": options.key,
        "tls": options.tls,
        "rate_limit_per_minute": options.rate_limit,
        "balance_credits": options.balance,
        "speed": options.speed,
    }
    changes = {name: value for name, value in chosen.items() if value is not None}
    return base.changed({**changes, **dict(options.set)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_seedream.emulator",
        description="A stand-in for the Seedream API on 127.0.0.1. Prints its address as one line of JSON.",
    )
    parser.add_argument("--port", type=int, default=0, help="port of the API; 0 (default) takes a free one")
    parser.add_argument("--storage-port", type=int, default=0, help="port of the image links; 0 takes a free one")
    parser.add_argument(
        "--tls", action="store_const", const=True, help="https on both ports; prints the path of the CA file to trust"
    )
    parser.add_argument("--key", help="the API key it accepts")
    parser.add_argument("--rate-limit", type=int, metavar="N", help="requests per minute (default 3); 0: no limit")
    parser.add_argument("--balance", type=int, metavar="CREDITS", help="credits in the wallet (default 1000)")
    parser.add_argument("--speed", type=float, metavar="X", help="jobs take 1/X of the real time")
    parser.add_argument("--fast", action="store_true", help="sub-second jobs, small images, no rate limit: for tests")
    parser.add_argument(
        "--set",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting, its value as JSON, e.g. --set status_counts=true",
    )
    return parser


def _assignment(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
