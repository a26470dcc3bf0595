"""Two command lines from one table: Airflow's own, and that of ``python -m airflow_provider_seedream``.

Loaded by every ``airflow`` command, so it imports no engine and no Airflow; what a command does is
imported when it runs.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from airflow_provider_seedream import __version__
from airflow_provider_seedream.cli.commands import COMMANDS
from airflow_provider_seedream.cli.parts import Command

HELP = "Seedream: the wallet, single generations, and the paid requests"

# What scripts may rely on.
EXIT_CODES = {
    0: "done",
    1: "it could not be done: the API or the storage refused it or failed; or `ledger --fail-on` found some, "
    "`resolve --all` left some, or `reconcile` does not add up or needs a person; or standard output is "
    "closed or full",
    2: "the call is wrong: an argument, the connection, the table, a folder without a ledger, or a record "
    "that may not be resolved",
    3: "the generation is not ready yet: try again",
    130: "interrupted by Ctrl-C",
}


EPILOG = "exit codes: " + "; ".join(f"{code}: {meaning}" for code, meaning in EXIT_CODES.items()).replace(
    "`", ""
)


def get_seedream_commands() -> list[Any]:
    """``airflow seedream ...``, for the provider's ``cli`` key.

    :returns: one group with all commands, in classes of Airflow's command line.
    """
    # Imported here: Airflow's command line imports this module, and the table must load without it.
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    def action(command: Command) -> Any:
        arguments = tuple(Arg(one.flags, **one.options) for one in command.arguments)
        act = partial(_run, command.act)
        return ActionCommand(name=command.name, help=command.help, func=act, args=arguments, epilog=EPILOG)

    return [GroupCommand(name="seedream", help=HELP, subcommands=tuple(map(action, COMMANDS)), epilog=EPILOG)]


def build_parser() -> argparse.ArgumentParser:
    """The same commands for ``python -m airflow_provider_seedream``, which needs no Airflow command line."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_seedream", description=f"{HELP}.", epilog=EPILOG
    )
    parser.add_argument("--version", action="version", version=f"airflow-provider-seedream {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    for command in COMMANDS:
        own = commands.add_parser(command.name, help=command.help, description=command.help, epilog=EPILOG)
        own.set_defaults(func=partial(_run, command.act))
        for one in command.arguments:
            own.add_argument(*one.flags, **one.options)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command: ``main(["ledger", "s3://my_conn@bucket/watches"])``.

    :param arguments: those of the process by default.
    :raises SystemExit: always, with the command's exit code.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "func"):  # no command: say which there are
        parser.print_help(sys.stderr)
        sys.exit(2)
    options.func(options, ends_process=arguments is None)


def _run(act: str, options: argparse.Namespace, *, ends_process: bool = True) -> None:
    """Run a command with standard output kept for its results.

    :param ends_process: False in tests, where later output has to go to its old place again.
    """
    from airflow_provider_seedream.cli.printing import ResultsNotWrittenError, results_on_stdout, say_error

    try:
        # The emulator prints its greeting itself, and runs without Airflow. Everything else may log as soon
        # as Airflow is imported.
        with nullcontext() if act == "emulating.emulator" else results_on_stdout(for_good=ends_process):
            from airflow_provider_seedream.cli.running import run

            run(act, options)
    except ResultsNotWrittenError as error:
        say_error(f"The results cannot be written to standard output: {error.strerror}.")
        sys.exit(1)
