"""The commands that errors and tables print: one function makes them all, and a shell reads them as they
were meant.
"""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import pytest
from airflow.providers_manager import ProvidersManager

import airflow_provider_seedream
from airflow_provider_seedream.model.commands import command, folded, program, program_on

PACKAGE = Path(airflow_provider_seedream.__file__).parent
AWKWARD = "s3://aws@bucket/it's two words/$HOME;#1"


class TestACommand:
    def test_it_names_the_connection_only_if_it_is_not_the_default(self) -> None:
        begin = program()
        assert command("land", "ID", "s3://b/x", conn_id="seedream_default") == f"{begin} land ID s3://b/x"
        assert (
            command("land", "ID", "s3://b/x", conn_id="night") == f"{begin} land ID s3://b/x --conn-id night"
        )

    @pytest.mark.parametrize(
        ("airflow", "begin"),
        [
            ("3.1.0", "python -m airflow_provider_seedream"),
            ("3.1.8", "python -m airflow_provider_seedream"),
            ("3.2.0", "airflow seedream"),
            ("3.4.0b2", "airflow seedream"),
            ("3.10.1", "airflow seedream"),
            ("4.0.0.dev0", "airflow seedream"),
        ],
    )
    def test_it_begins_as_the_version_of_airflow_knows_it(self, airflow: str, begin: str) -> None:
        assert program_on(airflow) == begin

    def test_it_is_there_on_the_airflow_that_is_installed(self) -> None:
        has_commands_of_providers = hasattr(ProvidersManager, "cli_command_functions")
        assert (program() == "airflow seedream") == has_commands_of_providers

    @pytest.mark.parametrize("word", [AWKWARD, "a watch", "", "&", "~/images", "`x`"])
    def test_a_shell_reads_each_word_as_it_was_given(self, word: str) -> None:
        assert shlex.split(command("resolve", word, "--paid", "ID"))[len(program().split()) :] == [
            "resolve",
            word,
            "--paid",
            "ID",
        ]

    def test_no_other_place_puts_one_together(self) -> None:
        """A sentence may name a command; one with arguments of the moment is made by `command` alone."""
        made = [
            f"{file.relative_to(PACKAGE)}:{node.lineno}"
            for file in PACKAGE.rglob("*.py")
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.JoinedStr)
            for part, after in zip(node.values, node.values[1:], strict=False)
            if isinstance(part, ast.Constant) and isinstance(after, ast.FormattedValue)
            if "airflow seedream "
            in str(part.value).rpartition("`" if str(part.value).endswith("`") else "\n")[2]
        ]
        assert made == []


class TestALongCommand:
    @pytest.mark.parametrize("width", [30, 40, 98])
    def test_it_goes_on_after_a_backslash_and_is_never_cut_inside_an_argument(self, width: int) -> None:
        text = command("resolve", AWKWARD, "3f2a9c1b", "--paid", "ID", conn_id="night")
        lines = folded(text, width=width)
        assert shlex.split("".join(line.removesuffix("\\") for line in lines)) == shlex.split(text)
        assert all(
            len(line) <= width for line in lines if AWKWARD not in shlex.split(line.removesuffix("\\"))
        )
        assert len(lines) > 1 or width == 98

    def test_a_short_one_stays_as_it_is(self) -> None:
        assert folded("pip install 'airflow-provider-seedream[s3]'", width=98) == [
            "pip install 'airflow-provider-seedream[s3]'"
        ]
