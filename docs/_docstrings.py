"""Makes the API reference readable: the reST of the docstrings becomes markdown, and names of defaults become
their values.

Roles become code, ``::`` a colon, fields that share a line get their own. ``timeout=DEFAULT_TIMEOUT_SECONDS``
becomes ``timeout=3600.0``. Used by mkdocs.yml only. Changes no source.
"""

import re
from typing import Any

import griffe

PACKAGE = "airflow_provider_seedream"
_CONSTANT = re.compile(r"(\w+\.)?[A-Z][A-Z_]+")
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


class Defaults(griffe.Extension):
    """Shows the value of a default where the signature names a constant, and the fallback where it asks
    Airflow's configuration.
    """

    def on_package(self, *, loader: griffe.GriffeLoader, **_: Any) -> None:
        _settle(loader.modules_collection[PACKAGE], loader.modules_collection)


def _settle(holder: griffe.Object, modules: griffe.ModulesCollection) -> None:
    """Replace the defaults of parameters and of dataclass fields, in all modules and classes below."""
    for member in holder.members.values():
        if isinstance(member, griffe.Function):
            for parameter in member.parameters:
                parameter.default = _value(parameter.default, modules)
        elif isinstance(member, griffe.Attribute) and isinstance(holder, griffe.Class):
            member.value = _value(member.value, modules)
        elif isinstance(member, griffe.Class | griffe.Module):
            _settle(member, modules)


def _value(default: Any, modules: griffe.ModulesCollection) -> Any:
    """The text of a default: a constant of this package is followed to its own expression, any other stays
    as it is written.
    """
    if isinstance(default, griffe.ExprCall):
        keywords = {one.name: one.value for one in default.arguments if isinstance(one, griffe.ExprKeyword)}
        return keywords.get("fallback", default)
    is_constant = isinstance(default, griffe.ExprName | griffe.ExprAttribute) and _CONSTANT.fullmatch(
        str(default)
    )
    if is_constant and default.canonical_path.startswith(PACKAGE):
        constant = modules[default.canonical_path]
        return _value(constant.value, modules) if isinstance(constant, griffe.Attribute) else default
    return default
