"""The commands of ``airflow seedream`` that errors, logs and statements print for a person to copy. Does no I/O.

One function makes them all: each is quoted for a shell, and names the connection wherever it is not the default one.
"""

import shlex

from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID


def command(name: str, *words: str, conn_id: str = DEFAULT_CONN_ID) -> str:
    """One command to copy::

        command("land", "5cc8f0d8", "s3://aws@bucket/two words", conn_id="night")
        # airflow seedream land 5cc8f0d8 's3://aws@bucket/two words' --conn-id night

    :param name: of the command, e.g. ``resolve``.
    :param words: its arguments, unquoted: URIs may hold blanks and signs that a shell reads.
    :param conn_id: of the Seedream connection that the task used. Leave it out for a command that has no ``--conn-id``.
    """
    named = () if conn_id == DEFAULT_CONN_ID else ("--conn-id", conn_id)
    return shlex.join(("airflow", "seedream", name, *words, *named))


def folded(text: str, *, width: int) -> list[str]:
    """A command in lines of at most ``width`` characters, each but the last with a backslash at its end, as a shell reads it.

    A quoted argument is never cut: a line is longer than ``width`` only if one argument is.
    """
    lines: list[str] = []
    for word in map(shlex.quote, shlex.split(text)):
        if lines and len(lines[-1]) + 1 + len(word) <= width - len(" \\"):
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}" if lines else word)
    return [*(f"{line} \\" for line in lines[:-1]), *lines[-1:]]
