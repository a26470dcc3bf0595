"""The command that starts the emulator; its own module says the rest."""

import argparse

from airflow_provider_seedream.exceptions import SeedreamInputError


def emulator(options: argparse.Namespace) -> int:
    try:
        from airflow_provider_seedream.emulator.__main__ import main
    except ModuleNotFoundError as missing:  # its extra
        raise SeedreamInputError(str(missing)) from None
    settings = [part for setting in options.set for part in ("--set", setting)]
    flags = [flag for flag, chosen in (("--fast", options.fast), ("--tls", options.tls)) if chosen]
    return main(["--port", str(options.port), *flags, *settings])
