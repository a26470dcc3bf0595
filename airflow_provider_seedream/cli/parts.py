"""The pieces of the table of commands: an argument, a command, and the arguments that several commands share.

Loaded by every ``airflow`` command, so it imports no Airflow and of ours only the name of the default
connection.
"""

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument, in argparse's words.

    ::

        Argument(flags=("-o", "--output"), options={"choices": ("table", "json"), "default": "table"})

    :param flags: one plain name makes a positional argument.
    :param options: keywords of ``argparse.ArgumentParser.add_argument``; Airflow's ``Arg`` takes the same.
    """

    flags: tuple[str, ...]
    options: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command::

        Command(
            name="balance",
            act="account.balance",
            help="the credits in the wallet",
            arguments=(CONN_ID, OUTPUT),
        )

    :param act: ``module.function`` below this package: takes the parsed arguments, returns the exit code.
    :param help: one line of ``airflow seedream --help``.
    :param arguments: in the order of the help page.
    """

    name: str
    act: str
    help: str
    arguments: tuple[Argument, ...] = field(default=())


def argument(*flags: str, **options: Any) -> Argument:
    """An argument in the form of ``argparse.ArgumentParser.add_argument``."""
    return Argument(flags=flags, options=options)


CONN_ID = argument("--conn-id", default=DEFAULT_CONN_ID, help=f"the connection; {DEFAULT_CONN_ID} by default")
OUTPUT = argument(
    "-o", "--output", choices=("table", "json"), default="table", help="how to print; table by default"
)
