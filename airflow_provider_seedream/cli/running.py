"""Runs one command and ends the process: an error of ours is one clear message and an exit code, never a
traceback.

Exit codes: 0 done, 1 failed, 2 a wrong call, 3 not ready in time, 130 interrupted.
"""

import argparse
import os
import sys
from importlib import import_module
from typing import NoReturn

from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException

from airflow_provider_seedream.cli.printing import say_error
from airflow_provider_seedream.exceptions import (
    SeedreamError,
    SeedreamGenerationTimeoutError,
    SeedreamInputError,
)

FAILED, WRONG, NOT_READY, INTERRUPTED = 1, 2, 3, 130


def run(act: str, options: argparse.Namespace) -> NoReturn:
    """Run a command and end the process with its exit code.

    :param act: ``module.function`` of this package, imported here, so that the table of commands needs no
        imports.
    :param options: the parsed arguments.
    :raises SystemExit: always.
    """
    # As Airflow's own commands do: connections may come from its database, not only from the environment and
    # secrets backends.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    module, _, name = act.rpartition(".")
    try:
        # Errors that are not Airflow's end with a traceback: they are faults of this package, and a report
        # needs the place.
        code = getattr(import_module(f"{__package__}.{module}"), name)(options)
    except AirflowException as error:
        say_error(_message(error))
        code = _code(error)
    except BrokenPipeError:
        # the reader of the results has seen enough, as `head` has: tables end in the same way
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _code(error: AirflowException) -> int:
    """The exit code of an error: 3 not ready, 2 a wrong call, 1 all else.

    A missing connection is a wrong call, although Airflow has a class of its own for it.
    """
    if isinstance(error, SeedreamGenerationTimeoutError):
        return NOT_READY
    return WRONG if isinstance(error, SeedreamInputError | AirflowNotFoundException) else FAILED


def _message(error: AirflowException) -> str:
    """The error without the sentence about a task's retry: a person at a terminal has no retry."""
    if not isinstance(error, SeedreamError):
        return str(error)
    record = f" Record: {error.record}." if error.record else ""
    paid = f" Paid: {error.paid}." if error.paid != "no" else ""
    return f"{error.detail}{paid}{record}"
