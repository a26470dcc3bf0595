"""Every command, and each of its arguments, with values that are odd. A command or an argument without a row
here fails.

A table of all answers: ``pytest -s -m slow tests/cli/test_sweep.py -k table``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_seedream.cli.commands import COMMANDS
from airflow_provider_seedream.cli.definition import EXIT_CODES
from airflow_provider_seedream.emulator import Emulator
from tests.cli.conftest import Buy, Ended, Run

LONG = "x" * 5000
ODD = {
    "empty": "",
    "blank": "  ",
    "long": LONG,
    "negative": "-1",
    "not a number": "nan",
    "beyond any integer": "9" * 5000,
    "infinite": "inf",
    "dots": "{tmp}/../nothing",
    "a path": "/etc/hostname",
    "a folder that is not there": "file://{tmp}/at/all",
    "a store without a package": "nowhere://bucket/x",
    "NUL": "file:///tmp/a\0b",
    "line breaks": "a\r\nb",
    "an escape": "\x1b[31mred",
    "half a surrogate": "\udcff",
    "markup": "[red]x[/red]",
    "a template": "{{ 7 * 7 }}",
    "json": '{"a": 1}',
    "another record": f"file://{{tmp}}/_seedream/ledger/{'0' * 64}.json",
}
OF_OPTIONS = (
    "empty",
    "long",
    "negative",
    "not a number",
    "beyond any integer",
    "infinite",
    "NUL",
    "half a surrogate",
    "markup",
)
# What each command is called with where nothing is odd; {id}, {destination}, {record} and {table} are sound
# ones.
CALLS: dict[str, list[str]] = {
    "balance": [],
    "status": ["{id}"],
    "land": ["{id}", "{destination}"],
    "ledger": ["{destination}"],
    "spending": ["{destination}"],
    "export": ["{destination}", "{tmp}.parquet"],
    "reconcile": ["{destination}"],
    "resolve": ["{record}", "--not-paid", "--yes"],
    "check": ["{destination}"],
    "price": ["{table}"],
    "plan": ["{table}", "{destination}"],
    "stop": ["{destination}"],
}
NOT_RUN = {"emulator"}  # serves until Ctrl-C; tests/emulator starts it
MESSAGES = re.compile(r"(Error: |usage: |.*: error: )")


def arguments(name: str) -> list[tuple[str, ...]]:
    [command] = [command for command in COMMANDS if command.name == name]
    return [argument.flags for argument in command.arguments]


@pytest.fixture
def sound(buy: Buy, destination: str, tmp_path: Path) -> dict[str, str]:
    bought = buy(name="hero")
    table = tmp_path / "table.csv"
    table.write_text("prompt\na watch\n")
    return {
        "tmp": str(tmp_path / "elsewhere"),
        "id": bought.seedream_task_id,
        "destination": destination,
        "record": bought.record or "",
        "table": str(table),
    }


def calls(name: str, sound: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Every odd call of a command, with a name."""
    call = [word.format(**sound) for word in CALLS[name]]
    positional = [flags for flags in arguments(name) if not flags[0].startswith("-")]
    for at, flags in enumerate(positional):
        for odd, value in ODD.items():
            value = value.replace("{tmp}", sound["tmp"])
            yield (
                f"{flags[0]}: {odd}",
                [*call[:at], *(["--"] if value.startswith("-") else []), value, *call[at + 1 :]],
            )
        yield f"{flags[0]}: missing", call[:at]
    for flags in arguments(name):
        if flags[0].startswith("-"):
            for odd in OF_OPTIONS:
                yield f"{flags[-1]}: {odd}", [*call, f"{flags[-1]}={ODD[odd]}"]
            yield f"{flags[-1]}: doubled", [*call, flags[-1], flags[-1]]
    yield "unknown option", [*call, "--nonsense"]
    yield "one argument more", [*call, "more", "more"]


def judge(name: str, what: str, ended: Ended) -> None:
    said = f"{name} {what}: {ended.code} {ended.out[:200]!r} {ended.err[-500:]!r}"
    assert ended.code in EXIT_CODES, said
    assert "Traceback" not in ended.err + ended.out, said
    assert "\x1b" not in ended.out + ended.err, said
    if ended.code:
        # these say in their tables what is wrong
        assert ended.err.strip() or name in ("check", "price", "plan"), said
    assert len(ended.err) < 12_000, said


def test_every_command_has_a_row() -> None:
    assert {command.name for command in COMMANDS} == set(CALLS) | NOT_RUN


@pytest.mark.parametrize("name", CALLS)
def test_no_odd_call_is_a_traceback(name: str, run: Run, sound: dict[str, str], emulator: Emulator) -> None:
    posts = emulator.books.posts_received
    for what, call in calls(name, sound):
        judge(name, what, run(name, *call))
    assert emulator.books.posts_received == posts


@pytest.mark.parametrize("name", ["balance", "status", "land"])
def test_without_a_key_that_is_taken_nothing_is_shown(
    name: str, run: Run, sound: dict[str, str], emulator: Emulator
) -> None:
    emulator.configure(key="another")
    ended = run(name, *(word.format(**sound) for word in CALLS[name]))
    assert ended.code == 1
    assert ended.out == ""


@pytest.mark.slow
def test_every_call_of_every_command_gets_an_answer(run: Run, sound: dict[str, str]) -> None:
    lines = []
    for name in CALLS:
        for what, call in calls(name, sound):
            ended = run(name, *call)
            first = (ended.err or ended.out).strip().splitlines() or [""]
            lines.append(
                f"{name} | {what} | {ended.code} | {first[-1 if 'usage' in first[0] else 0][:110]!r}"
            )
    print("\n".join(lines))
    assert lines
