"""``python -m airflow_provider_seedream.emulator``: the emulator in the foreground, until SIGTERM or Ctrl-C::

    $ python -m airflow_provider_seedream.emulator --port 8123 --speed 10
    {"url": "http://127.0.0.1:8123", "storage_url": ..., "key": ..., "AIRFLOW_CONN_SEEDREAM_DEFAULT": ...}

Prints one line of JSON once it listens; everything else is at ``/__admin/``. ``airflow seedream emulator``
takes the same arguments (``cli/commands.py``); a test compares the two.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

from airflow_provider_seedream.emulator.server import Emulator
from airflow_provider_seedream.emulator.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and :func:`serve`.

    :param arguments: without the name of the program; those of the process by default.
    :returns: the exit status, see :func:`serve`.
    """
    return serve(parser().parse_args(arguments))


def serve(options: argparse.Namespace) -> int:
    """Start the emulator, print its greeting, and serve until SIGTERM or SIGINT.

    :param options: the arguments of :func:`parser`.
    :returns: 0 after serving, 1 when standard output does not take the greeting, 2 when a port is taken or a
        setting is unknown or has a wrong value.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        emulator = Emulator(_settings(options), port=options.port, storage_port=options.storage_port).start()
    # A taken port and a misspelt setting are for a person to mend: one line instead of a traceback.
    except (OSError, ValueError) as wrong:
        print(f"seedream emulator: {wrong}", file=sys.stderr)
        return 2
    try:
        _greet(emulator)
    except OSError as full:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python writes the line again when it ends
        emulator.stop()
        print(
            f"seedream emulator: its address cannot be written to standard output: {full.strerror}",
            file=sys.stderr,
        )
        return 1
    stop.wait()
    emulator.stop()
    return 0


def _greet(emulator: Emulator) -> None:
    """Print the addresses. Flushed, as a script that reads a pipe waits for this line."""
    greeting = {
        "url": emulator.url,
        "storage_url": emulator.storage_url,
        "key": emulator.key,
        **({"ca_file": emulator.ca_file} if emulator.ca_file else {}),
        "AIRFLOW_CONN_SEEDREAM_DEFAULT": emulator.airflow_connection_json(),
    }
    print(json.dumps(greeting), flush=True)


def _settings(options: argparse.Namespace) -> Settings:
    """The settings that the arguments choose; ``--set`` goes last and wins.

    :raises ValueError: a setting is unknown, or its value is.
    """
    base = Settings.fast() if options.fast else Settings()
    chosen = {
        "key": options.key,
        "tls": options.tls or None,
        "rate_limit_per_minute": options.rate_limit,
        "balance_credits": options.balance,
        "speed": options.speed,
    }
    # An argument that was not given keeps the value of ``--fast`` or the default.
    changes = {name: value for name, value in chosen.items() if value is not None}
    return base.changed({**changes, **dict(map(_assignment, options.set))})


def parser() -> argparse.ArgumentParser:
    """The arguments of the emulator. ``airflow seedream emulator`` has the same."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_seedream.emulator",
        description="A stand-in for the Seedream API on 127.0.0.1. Prints its address as one line of JSON.",
    )
    parser.add_argument("--port", type=int, default=0, help="port of the API; 0 (default) takes a free one")
    parser.add_argument(
        "--storage-port", type=int, default=0, help="port of the image links; 0 (default) takes a free one"
    )
    parser.add_argument(
        "--tls", action="store_true", help="https on both ports; prints the path of the CA file to trust"
    )
    parser.add_argument("--key", help="the API key it accepts; seedream-emulator-key by default")
    parser.add_argument(
        "--rate-limit", type=int, metavar="N", help="requests per minute, 3 by default; 0: no limit"
    )
    parser.add_argument(
        "--balance", type=int, metavar="CREDITS", help="credits in the wallet, 1000 by default"
    )
    parser.add_argument("--speed", type=float, metavar="X", help="jobs take 1/X of the real time")
    parser.add_argument(
        "--fast", action="store_true", help="sub-second jobs, small images, no rate limit: for tests"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting, its value as JSON, e.g. --set status_counts=true; may be repeated",
    )
    return parser


def _assignment(text: str) -> tuple[str, object]:
    """``status_counts=true`` as a name and a value; a value that is no JSON is taken as text:
    ``error_shape=nested``.
    """
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
