"""The commands of ``airflow seedream`` that errors, logs and statements print for a person to copy.

One function makes them all: each is quoted for a shell, begins as this Airflow knows it, and names the
connection if it is not the default one.
"""

import shlex
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID


def command(name: str, *words: str, conn_id: str = DEFAULT_CONN_ID) -> str:
    """One command to copy::

        command("land", "5cc8f0d8", "s3://aws@bucket/two words", conn_id="night")
        # airflow seedream land 5cc8f0d8 's3://aws@bucket/two words' --conn-id night

    :param name: of the command, e.g. ``resolve``.
    :param words: its arguments, unquoted: URIs may hold blanks and signs that a shell reads.
    :param conn_id: of the Seedream connection that the task used. Leave it out for a command that has no
        ``--conn-id``.
    """
    named = () if conn_id == DEFAULT_CONN_ID else ("--conn-id", conn_id)
    return f"{program()} {shlex.join((name, *words, *named))}"


@cache
def program() -> str:
    """The begin of each command on the Airflow that is installed, see :func:`program_on`. Read once: the
    packages do not change.
    """
    try:
        return program_on(version("apache-airflow-core"))
    except PackageNotFoundError:
        # a worker with the task SDK alone: a person types the command where all of Airflow is
        return program_on("3.2")


def program_on(airflow: str) -> str:
    """The begin of each command: Airflow 3.2 was the first with commands of providers [apache-airflow-core
    3.1.8 and 3.2.0]::

        program_on("3.1.8")  # python -m airflow_provider_seedream
        program_on("3.4.0b2")  # airflow seedream

    :param airflow: its version.
    """
    major, minor = airflow.split(".")[:2]
    has_commands_of_providers = (int(major), int(minor)) >= (3, 2)
    return "airflow seedream" if has_commands_of_providers else "python -m airflow_provider_seedream"


def folded(text: str, *, width: int) -> list[str]:
    """A command in lines of at most ``width`` characters, each but the last with a backslash at its end, as a
    shell reads it.

    A quoted argument is never cut: a line is longer than ``width`` only if one argument is.
    """
    lines: list[str] = []
    for word in map(shlex.quote, shlex.split(text)):
        if lines and len(lines[-1]) + 1 + len(word) <= width - len(" \\"):
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}" if lines else word)
    return [*(f"{line} \\" for line in lines[:-1]), *lines[-1:]]
