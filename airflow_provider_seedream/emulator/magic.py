"""Magic words: faults spelled in a prompt, as ``[endpoint/kind:argument*times]``; only the kind is required.

``[fail]``, ``[late-assets:60]``, ``[status/refuse:503*3]``. Brackets that name no fault are left alone: they
are just a prompt.
"""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_seedream.emulator.faults import Fault
from airflow_provider_seedream.emulator.kinds import KINDS

# no prompt was read by then
_SPELLED = frozenset(kind for kind, info in KINDS.items() if info.stage != "early")
_WORD = re.compile(
    r"\[(?:(?P<endpoint>submit|generate|edit|status|wallet|download|thumbnail)/)?"
    r"(?P<kind>[a-z]+(?:-[a-z]+)*)(?::(?P<argument>[^\]\s]*?))?(?:\*(?P<times>\d+))?\]"
)


def magic_faults(prompt: str) -> tuple[Fault, ...]:
    """The faults that a prompt asks for; they strike this very prompt alone.

    Example::

        [fault] = magic_faults("a red fox [status/refuse:503*3]")
        assert (fault.kind, fault.endpoint, fault.status, fault.times) == ("refuse", "status", 503, 3)
    """
    return tuple(_fault(found, prompt) for found in _WORD.finditer(prompt) if found["kind"] in _SPELLED)


def _fault(found: re.Match[str], prompt: str) -> Fault:
    """One magic word as a fault. An argument of a kind that takes none is ignored."""
    details: dict[str, Any] = {"prompt": prompt, "endpoint": found["endpoint"]}
    if found["times"]:
        details["times"] = int(found["times"])
    argument = KINDS[found["kind"]].argument
    if argument and found["argument"]:
        details[argument] = _value(argument, found["argument"])
    return Fault(found["kind"], **details)


def _value(argument: str, text: str) -> float | int | str:
    """The argument as the field wants it; a word that should be a number counts as 0."""
    if argument == "url":
        return text
    number = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0
    return number if argument == "seconds" else int(number)
