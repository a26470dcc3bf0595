"""The command line as people start it: a process of its own, under Airflow's and without, and in a
terminal.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

import airflow
import pytest
from packaging.version import Version

from airflow_provider_seedream import __version__
from airflow_provider_seedream.emulator import Emulator
from tests.airflow.warm import start
from tests.cli.conftest import Buy, run_process, run_warm
from tests.unit.values import KEY

OURS = "airflow_provider_seedream"
NO_CLI_KEY = Version(airflow.__version__) < Version("3.2")
since_cli_key = pytest.mark.skipif(NO_CLI_KEY, reason="commands of providers came with Airflow 3.2")


def in_terminal(*command: str, answer: str = "", columns: int = 100) -> tuple[int, str]:
    """A command whose standard streams are a terminal: its exit code and all that was shown."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = start(*command, env=environment, streams=[theirs, theirs, theirs])
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return process.wait(timeout=300), shown.decode()


class TestWithoutAirflows:
    def test_what_airflow_and_libraries_log_or_print_is_not_in_the_result(
        self, emulator: Emulator, buy: Buy, destination: str, tmp_path: Path
    ) -> None:
        """A log level of DEBUG makes Airflow and urllib3 talk; where their lines went before, JSON was no
        JSON.
        """
        settings = {
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__LOGGING__CELERY_STDOUT_STDERR_SEPARATION": "False",
        }
        landed = run_process(
            OURS, "land", buy().seedream_task_id, destination, "-o", "json", env={**os.environ, **settings}
        )
        assert (landed.code, len(landed.json["images"])) == (0, 1)
        assert KEY not in landed.out + landed.err

    def test_without_a_command_it_lists_the_commands(self) -> None:
        ended = run_process(OURS)
        assert (ended.code, ended.out) == (2, "")
        assert "ledger" in ended.err
        assert "exit codes: 0: done" in ended.err

    def test_its_version_is_said(self) -> None:
        assert run_process(OURS, "--version").out == f"airflow-provider-seedream {__version__}\n"

    def test_an_error_is_one_message_without_a_traceback(self, emulator: Emulator) -> None:
        emulator.configure(key="another-key")
        ended = run_warm(OURS, "balance")
        assert (ended.code, ended.out) == (1, "")
        assert "401" in ended.err
        assert KEY not in ended.err

    @pytest.mark.parametrize("output", ["json", "table"])
    def test_a_reader_that_has_seen_enough_ends_it_without_a_traceback(
        self, output: str, emulator: Emulator, buy: Buy, destination: str
    ) -> None:
        buy()
        reader, writer = os.pipe()
        os.close(reader)
        with TemporaryFile() as err:
            process = start(
                OURS, "ledger", destination, "--records", "-o", output, streams=[0, writer, err.fileno()]
            )
            os.close(writer)
            assert process.wait(timeout=300) in (0, 1)
            err.seek(0)
            said = err.read()
            # Airflow itself may log there
            assert b"Traceback" not in said and b"BrokenPipe" not in said, said

    @pytest.mark.parametrize("output", ["json", "table"])
    def test_a_full_disk_is_one_message(
        self, output: str, emulator: Emulator, buy: Buy, destination: str
    ) -> None:
        """Also before the command has ended: as JSON, three long prompts are more than a buffer."""
        for run_id in ("one", "two", "three"):
            buy("a watch " * 400, run_id=run_id)
        with open("/dev/full", "wb") as full, TemporaryFile() as err:
            process = start(
                OURS,
                "ledger",
                destination,
                "--records",
                "-o",
                output,
                streams=[0, full.fileno(), err.fileno()],
            )
            assert process.wait(timeout=60) == 1
            err.seek(0)
            said = err.read().decode()
        assert said.endswith(
            "Error: The results cannot be written to standard output: No space left on device.\n"
        )
        assert "Traceback" not in said

    @pytest.mark.parametrize("command", [("balance",), ("emulator", "--fast")])
    def test_a_process_without_a_place_for_its_results_ends_with_one_message(
        self, command: tuple[str, ...]
    ) -> None:
        """A standard output that is closed when Python starts; the emulator has a full one, as it serves
        without one.
        """
        ours = [sys.executable, "-m", OURS, *command]
        place = ">/dev/full" if command[0] == "emulator" else ">&-"
        ended = subprocess.run(
            ["sh", "-c", f'exec "$@" {place}', "sh", *ours], stderr=subprocess.PIPE, text=True, timeout=120
        )
        assert (ended.returncode, ended.stderr.count("standard output: ")) == (1, 1), ended.stderr
        assert "Traceback" not in ended.stderr
        assert "Exception ignored" not in ended.stderr

    def test_a_wrong_call_says_how_it_is_called(self) -> None:
        ended = run_process(OURS, "land")
        assert ended.code == 2
        assert "usage: python -m airflow_provider_seedream land" in ended.err

    def test_the_emulator_runs_until_it_is_told_to_stop(self) -> None:
        command = [sys.executable, "-m", OURS, "emulator", "--fast", "--set", "balance_credits=70"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        greeting = json.loads(process.stdout.readline())
        try:
            environment = {
                **os.environ,
                "AIRFLOW_CONN_SEEDREAM_DEFAULT": greeting["AIRFLOW_CONN_SEEDREAM_DEFAULT"],
            }
            assert run_warm(OURS, "balance", "-o", "json", env=environment).json["images"] == 7
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=300) == 0


@since_cli_key
class TestUnderAirflows:
    def test_the_same_command_does_the_same(self, emulator: Emulator, buy: Buy, destination: str) -> None:
        task_id = buy().seedream_task_id
        ours = run_warm(OURS, "land", task_id, destination, "-o", "json")
        theirs = run_process("airflow", "seedream", "land", task_id, destination, "-o", "json")
        assert (theirs.code, theirs.json) == (0, ours.json)

    def test_its_exit_codes_come_through(self, emulator: Emulator) -> None:
        ended = run_warm("airflow", "seedream", "status", "0b8c1f0e-5a63-4b0e-9b0c-2f6f3a1d7c11")
        assert ended.code == 1
        assert "Error: " in ended.err

    def test_help_lists_the_commands(self, emulator: Emulator) -> None:
        ended = run_warm("airflow", "seedream", "--help")
        assert ended.code == 0
        assert "the payments and the unknown outcomes" in ended.out


class TestInATerminal:
    def test_waiting_shows_a_clock_and_the_result_a_table(
        self, emulator: Emulator, buy: Buy, destination: str
    ) -> None:
        code, shown = in_terminal(OURS, "land", buy(name="hero").seedream_task_id, destination)
        assert code == 0
        assert "Waiting for" in shown
        assert "Landing" in shown
        assert "hero_1.png" in shown

    def test_nothing_is_resolved_until_a_person_says_yes(
        self, emulator: Emulator, buy: Buy, destination: str
    ) -> None:
        record = Path((buy().record or "").removeprefix("file://"))
        record.write_text(json.dumps(json.loads(record.read_text()) | {"outcome": "unknown"}))
        code, shown = in_terminal(OURS, "resolve", f"file://{record}", "--not-paid", answer="n\n")
        assert code == 2
        assert "Nothing was changed." in shown
        assert record.exists()
        code, shown = in_terminal(OURS, "resolve", f"file://{record}", "--not-paid", answer="y\n")
        assert code == 0
        assert not record.exists()

    def test_a_table_that_does_not_fit_breaks_no_word(
        self, emulator: Emulator, buy: Buy, destination: str
    ) -> None:
        task_id = buy("a watch of extraordinarily longwindedness").seedream_task_id
        code, shown = in_terminal(OURS, "ledger", destination, "--records", columns=60)
        assert code == 0
        assert task_id in shown
        assert "longwindedness" in shown
