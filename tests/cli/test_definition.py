"""The commands as data: one table for both command lines, light to load, and told in the docs."""

from __future__ import annotations

import argparse
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from airflow_provider_seedream.cli import running
from airflow_provider_seedream.cli.commands import COMMANDS, OUTCOMES
from airflow_provider_seedream.cli.definition import EXIT_CODES, build_parser, get_seedream_commands
from airflow_provider_seedream.cli.parts import Command
from airflow_provider_seedream.emulator.__main__ import parser as emulator_parser
from airflow_provider_seedream.ledger.records import Outcome
from airflow_provider_seedream.provider_info import get_provider_info
from tests.unit.test_import_cost import HEAVY, imported_by, within

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def parser_of(command: str) -> argparse.ArgumentParser:
    [commands] = [
        action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    parser: argparse.ArgumentParser = commands.choices[command]
    return parser


def cells(heading: str) -> list[list[str]]:
    """The rows of the table below a heading."""
    found = re.search(rf"^##+ {re.escape(heading)}$\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


class TestTheTable:
    def test_it_loads_nothing_of_airflow(self) -> None:
        added = imported_by(
            "airflow_provider_seedream.cli.definition",
            before="import argparse, dataclasses, functools, typing",
        )
        assert within(added, (*HEAVY, "airflow", "rich")) == []

    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
    def test_each_command_has_a_function_of_its_name_that_takes_the_options(self, command: Command) -> None:
        module, _, name = command.act.rpartition(".")
        function = getattr(import_module(f"airflow_provider_seedream.cli.{module}"), name)
        assert name == command.name
        assert list(inspect.signature(function).parameters) == ["options"]

    def test_the_outcomes_are_the_ledgers(self) -> None:
        assert get_args(Outcome) == OUTCOMES

    def test_the_exit_codes_are_those_that_are_used(self) -> None:
        assert set(EXIT_CODES) == {0, running.FAILED, running.WRONG, running.NOT_READY, running.INTERRUPTED}


class TestTheEmulator:
    def test_both_ways_to_start_it_take_the_same(self) -> None:
        """Argument for argument, so that what the docs say of one holds for the other."""
        assert list(map(told, parser_of("emulator")._actions)) == list(map(told, emulator_parser()._actions))


class TestAirflows:
    def test_the_provider_info_names_the_commands(self) -> None:
        [path] = get_provider_info()["cli"]
        module, _, name = path.rpartition(".")
        assert getattr(import_module(module), name) is get_seedream_commands

    def test_its_parser_takes_the_same(self) -> None:
        """Argument for argument: flags, defaults, choices, destinations."""
        [group] = get_seedream_commands()
        assert group.name == "seedream"
        assert [command.name for command in group.subcommands] == [command.name for command in COMMANDS]
        for command in group.subcommands:
            theirs = argparse.ArgumentParser()
            for argument in command.args:
                argument.add_to_parser(theirs)
            assert list(map(told, theirs._actions)) == list(map(told, parser_of(command.name)._actions))


def told(action: argparse.Action) -> dict[str, object]:
    return {name: value for name, value in vars(action).items() if name != "container"}


class TestTheDocs:
    def test_every_command_is_told(self) -> None:
        assert [row[0].strip("`") for row in cells("The commands")] == [command.name for command in COMMANDS]
        assert [row[1] for row in cells("The commands")] == [command.help for command in COMMANDS]

    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
    def test_every_argument_is_told(self, command: Command) -> None:
        actions = [action for action in parser_of(command.name)._actions if action.dest != "help"]
        names = [
            ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.metavar}`"
            for action in actions
        ]
        assert [row[0] for row in cells(command.name)] == names

    def test_every_exit_code_is_told(self) -> None:
        assert {int(row[0]): row[1] for row in cells("Exit codes")} == EXIT_CODES
