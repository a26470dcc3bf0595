"""Prompts, names and reasons as markdown that shows them as they are: they come from tables and from the API,
so from anybody.

Does no I/O. Airflow renders markdown with GitHub's extensions and drops raw HTML.
"""

import re

_JOINER = "\u2060"  # WORD JOINER: it has no width, and a line does not break there
_MARKS = re.compile(r"([\\`*_\[\]<>#|~&!-])")
_LINKS = re.compile(r"(?<=https)(?=://)|(?<=http)(?=://)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
_TEMPLATES = re.compile(r"(?<=\{)(?=[{%#])")
_TICKS = re.compile(r"`+")


def as_text(text: str) -> str:
    r"""The text on one line, with a backslash before each mark that markdown would read::

        as_text("a *red* watch | new")  # a \*red\* watch \| new

    A backslash does not keep GitHub's markdown from making links of ``www.example.com``, ``https://...`` and
    mail addresses, so a character without width breaks those.
    """
    return _LINKS.sub(_JOINER, _MARKS.sub(r"\\\1", " ".join(text.split())))


def as_code(text: str) -> str:
    """The text on one line as code, in which markdown makes no links, lists or letters of it::

        as_code("a `red` watch")  # ``a `red` watch``

    The fence has one backtick more than the longest run of them in the text, which is the rule of markdown.
    """
    line = " ".join(text.split())
    fence = "`" * (max((len(ticks) for ticks in _TICKS.findall(line)), default=0) + 1)
    return (
        f"{fence} {line} {fence}" if line.startswith("`") or line.endswith("`") else f"{fence}{line}{fence}"
    )


def unrendered(text: str) -> str:
    """The text as Jinja leaves it alone. ``expand_kwargs`` renders the texts that it maps, also those of an
    XCom.

    ``{{ ds }}`` keeps its looks: between its braces comes a character without width. A prompt from a table
    could otherwise read variables and connections of the DAG run.
    """
    return _TEMPLATES.sub(_JOINER, text)


def cut(text: str, characters: int) -> str:
    """The text on one line, with dots in place of the rest.

    :param characters: the most characters, dots included.
    """
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 3]}..."
