"""The output of commands: tables for people, JSON for scripts, and progress on a terminal only.

Results go to standard output, everything else to standard error, so that a pipe gets results alone. Knows
nothing of ledgers or APIs.
"""

import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, track
from rich.table import Table

PIPED_WIDTH = 240  # a table that goes into a file or a pipe is not folded to 80 columns
UNBOUNDED = 10_000  # columns: what a table needs is not measured against the terminal
WHOLE = ("seedream_task_id", "intent_at")  # columns that people copy from
# Characters that a terminal obeys, or that turn letters around, are shown as escapes: prompts come from
# anywhere.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_results: list[TextIO] = []  # where results go while everything else goes to standard error
T = TypeVar("T")


class ResultsNotWrittenError(OSError):
    """Standard output takes no results: its disk is full, or it was closed before the command began.

    ::

        except ResultsNotWrittenError as error:
            say_error(f"The results cannot be written to standard output: {error.strerror}.")
            sys.exit(1)
    """


class _Results(io.FileIO):
    """The file of standard output. Its errors have a class of their own: other files of a command can fail
    in the same way.
    """

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:  # the reader has seen enough, which is no error
            raise
        except OSError as error:
            raise ResultsNotWrittenError(error.errno, error.strerror) from error


@contextmanager
def results_on_stdout(*, for_good: bool) -> Iterator[None]:
    """Standard output gets results and nothing else: log lines of Airflow and of libraries go to standard
    error meanwhile.

    The file descriptor is moved, not ``sys.stdout`` alone: loggers keep the stream that they found when they
    were made.

    :param for_good: the process ends with this: what Airflow logs at its exit goes to standard error as well.
    :raises ResultsNotWrittenError: standard output is closed and the command has not begun, or it took no
        more (its disk is full).
    """
    if sys.stdout is None:  # as Python says it; descriptor 1 may be another file by now
        raise ResultsNotWrittenError(errno.EBADF, "it is closed")
    sys.stdout.flush()
    kept = os.dup(1)
    results = io.TextIOWrapper(
        io.BufferedWriter(_Results(os.dup(1), "w")),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=os.isatty(1),
    )
    # Also C libraries and child processes write to descriptor 1.
    if sys.stderr is None:  # closed: descriptor 2 may be another file by now
        others = os.open(os.devnull, os.O_WRONLY)
        os.dup2(others, 1)
        os.close(others)
    else:
        os.dup2(2, 1)
    _results.append(results)
    try:
        yield
    finally:
        _results.remove(results)
        try:
            with suppress(BrokenPipeError):  # nobody reads the rest
                results.close()
        finally:
            sys.stdout.flush()
            if not for_good:
                os.dup2(kept, 1)
            os.close(kept)


def _stdout() -> TextIO:
    """The stream for results: the kept standard output while :func:`results_on_stdout` is open."""
    return _results[-1] if _results else sys.stdout


def out() -> Console:
    """The console for results: as wide as the terminal, or 240 columns in a pipe, where a fold would cut ids
    in two.
    """
    stream = _stdout()
    return Console(file=stream, width=None if stream.isatty() else PIPED_WIDTH, highlight=False)


def err() -> Console:
    """The console for messages, progress and questions: standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_error(message: str) -> None:
    """One message for people on standard error, with its markup escaped, as it may quote a prompt."""
    with suppress(OSError):  # standard error takes nothing: the exit code still tells
        err().print(f"[red]Error:[/red] {_text(message)}")


def print_json(value: Any) -> None:
    """One JSON value on standard output, and nothing else there. Letters beyond ASCII stay readable.

    :param value: dicts, lists, texts and numbers.
    """
    _stdout().write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_facts(facts: Mapping[str, Any]) -> None:
    """One thing, a line for each of its facts: ``balance_credits  1240``."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(f"[bold]{escape(name)}[/bold]", _text(value))
    out().print(table)


def print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Many of a kind as a table; nothing is printed for an empty list.

    Where a table does not fit the terminal, each row becomes a block of lines: folded ids could not be
    copied.

    :param rows: all with the same keys, which become the headings.
    """
    if not rows:
        return
    console, table = out(), _table(title, rows)
    # The width that the table needs, not the one that it would be squeezed into.
    if Measurement.get(console, console.options.update(max_width=UNBOUNDED), table).minimum <= console.width:
        console.print(table)
        return
    print_lines(title)
    for row in rows:
        print_facts(row)
        print_lines("")


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of :func:`print_rows`: numbers to the right, ids and instants never folded."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for name, value in rows[0].items():
        right = isinstance(value, int | float)
        table.add_column(
            name, justify="right" if right else "left", overflow="fold", no_wrap=right or name in WHOLE
        )
    for row in rows:
        table.add_row(*map(_text, row.values()))
    return table


def print_lines(heading: str, lines: Sequence[str] | None = None) -> None:
    """A heading and lines that are never folded, so that they can be copied; nothing for an empty list."""
    if lines is None or lines:
        _stdout().write(_visible("\n".join([heading, *(lines or ())])) + "\n")


def asked(question: str) -> bool:
    """Ask the person at the terminal for a yes; everything else is a no."""
    return answer_to(f"{question} [y/N]").lower() in ("y", "yes")


def answer_to(question: str) -> str:
    """The line that the person at the terminal types.

    The question goes to standard error: standard output is for results.

    :returns: without blanks around it; "q" at the end of input, which is Ctrl-D.
    """
    sys.stderr.write(f"{question} ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    return line.strip() if line else "q"


def tracked(items: Iterable[T], *, total: int, label: str) -> Iterable[T]:
    """The same items, with a bar on a terminal.

    :param total: how many there are.
    :param label: the words in front of the bar.
    """
    console = err()
    return track(items, label, total=total, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def working(label: str) -> Iterator[None]:
    """Context manager: a spinner and a clock on a terminal while something takes its time; nothing in a pipe
    or a log.
    """
    console = err()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(label, total=None)
        yield


def _text(value: Any) -> str:
    """A cell: None is empty, markup and control characters are shown as they are written."""
    return "" if value is None else escape(_visible(str(value)))


def _visible(text: str) -> str:
    """The text with control characters as escapes: a prompt must not move the cursor or hide letters of a
    terminal.
    """
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
