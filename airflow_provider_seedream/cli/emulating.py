"""``airflow seedream emulator``: the emulator in the foreground, with the arguments of ``python -m
...emulator``.

The emulator's own module serves; this module adds the error for its missing extra.
"""

import argparse

from airflow_provider_seedream.exceptions import SeedreamInputError


def emulator(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM.

    :param options: the settings of the emulator; each left out has its default.
    :returns: 0 after serving, 1 when standard output takes no greeting, 2 when a port is taken or a setting
        is unknown.
    :raises SeedreamInputError: the extra ``emulator`` is not installed.
    """
    try:
        from airflow_provider_seedream.emulator.__main__ import serve
    except ModuleNotFoundError as missing:  # its extra
        raise SeedreamInputError(str(missing)) from None
    return serve(options)
