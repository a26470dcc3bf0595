"""Turns the reST of the docstrings into markdown: roles become code, ``::`` a colon, fields that share a line get their own.

Used by mkdocs.yml only. Changes no source.
"""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func):`~?([^`]+)`")
_EXAMPLE = re.compile(r"::$", re.MULTILINE)  # the indented block that follows is code in markdown too
_FIELD = re.compile(r"(?<=\S) (?=:(?:param \w+|raises \w+):)")


class Docstrings(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = readable(obj.docstring.value)


def readable(text: str) -> str:
    """A docstring with its fields last, as what follows a field would be read as a part of it."""
    text = _ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    text = _EXAMPLE.sub(":", text)
    paragraphs = _FIELD.sub("\n", text).split("\n\n")
    return "\n\n".join(sorted(paragraphs, key=lambda paragraph: paragraph.startswith(":")))
