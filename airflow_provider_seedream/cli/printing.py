"""What commands print: tables for people, JSON for scripts, and progress on a terminal only."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, track
from rich.table import Table

PIPED_WIDTH = 240  # a table that goes into a file or a pipe is not folded to 80 columns
WHOLE = ("seedream_task_id", "intent_at")  # columns that people copy from
T = TypeVar("T")


_answers: TextIO | None = None


@contextmanager
def answers_apart() -> Iterator[None]:
    """Standard output is for the answer alone: Airflow logs there too, and a hook's log line before it is no JSON."""
    global _answers
    _answers = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _answers = None


def answers() -> TextIO:
    """Where a command prints its answer."""
    return _answers or sys.stdout


def out() -> Console:
    return Console(file=answers(), width=None if answers().isatty() else PIPED_WIDTH, highlight=False)


def err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_error(message: str) -> None:
    err().print(f"[red]Error:[/red] {escape(message)}")


def print_json(value: Any) -> None:
    answers().write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_facts(facts: Mapping[str, Any]) -> None:
    """One thing, a line for each of its facts."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(f"[bold]{escape(name)}[/bold]", _text(value))
    out().print(table)


def print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Many of a kind; nothing at all where there is none."""
    if not rows:
        return
    table = Table(title=title, title_justify="left", title_style="bold")
    for name, value in rows[0].items():
        right = isinstance(value, int | float)
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name in WHOLE)
    for row in rows:
        table.add_row(*map(_text, row.values()))
    out().print(table)


def print_lines(heading: str, lines: Sequence[str] | None = None) -> None:
    """A heading and lines that are never folded, so that they can be copied; nothing for an empty list."""
    if lines is None or lines:
        answers().write("\n".join([heading, *(lines or ())]) + "\n")


def tracked(items: Iterable[T], *, total: int, label: str) -> Iterable[T]:
    """The same items, with a bar on a terminal."""
    console = err()
    return track(items, label, total=total, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def working(label: str) -> Iterator[None]:
    """A spinner and a clock on a terminal while something takes its time."""
    console = err()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(label, total=None)
        yield


def _text(value: Any) -> str:
    return "" if value is None else escape(str(value))
