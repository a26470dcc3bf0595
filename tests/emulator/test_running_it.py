"""Starting and stopping: in-process, as a command, as a pytest plugin; and what it must never import."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.emulator.__main__ import main
from tools.processes import HeldPort

COMMAND = [sys.executable, "-m", "airflow_provider_seedream.emulator"]


class TestInProcess:
    def test_it_listens_on_loopback_alone(self) -> None:
        with Emulator(Settings.fast()) as emulator:
            assert emulator.url.startswith("http://127.0.0.1:")
            assert emulator.storage_url.startswith("http://127.0.0.1:")

    def test_its_ports_can_be_chosen(self) -> None:
        held = HeldPort()
        with Emulator(port=held.number) as emulator:
            assert emulator.url == f"http://127.0.0.1:{held.number}"
        held.release()

    def test_a_taken_port_is_an_error_of_the_caller(self) -> None:
        with Emulator() as emulator, pytest.raises(OSError, match="address already in use"):
            Emulator(port=int(emulator.url.rpartition(":")[2])).start()

    def test_after_stopping_nobody_listens(self) -> None:
        with Emulator() as emulator:
            url = emulator.url
        emulator.stop()
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=60)

    def test_it_stops_while_a_request_hangs(self) -> None:
        with Emulator(Settings.fast()) as emulator:
            emulator.inject("stall", endpoint="wallet", seconds=600)
            headers = {"Authorization": f"Bearer {emulator.key}"}
            with pytest.raises(requests.ReadTimeout):
                requests.get(f"{emulator.url}/account/user/wallet/", headers=headers, timeout=0.1)

    def test_a_wrong_setting_is_refused_by_name(self) -> None:
        with pytest.raises(ValueError, match="no such setting: colour"):
            Settings.fast(colour="red")

    def test_airflow_reads_both_forms_of_the_connection(self) -> None:
        models = pytest.importorskip("airflow.sdk")
        with Emulator() as emulator:
            by_json = models.Connection.from_json(
                emulator.airflow_connection_json(), conn_id="seedream_default"
            )
            by_uri = models.Connection.from_uri(emulator.connection_uri(), conn_id="seedream_default")
            for connection in (by_json, by_uri):
                assert connection.conn_type == "seedream"
                assert connection.password == emulator.key
            assert by_json.host == emulator.url


class TestTheCommand:
    def test_it_says_where_it_is_and_stops_on_sigterm(self) -> None:
        arguments = ["--key", "k1", "--balance", "50", "--rate-limit", "0", "--set", "status_counts=true"]
        with subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout
            greeting = json.loads(process.stdout.readline())
            headers = {"Authorization": "Bearer k1"}
            wallet = requests.get(f"{greeting['url']}/account/user/wallet/", headers=headers, timeout=60)
            settings = requests.get(f"{greeting['url']}/__admin/settings", timeout=60).json()
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=60)
        assert wallet.json() == {"balance": "50.00"}
        assert (settings["status_counts"], greeting["key"]) == (True, "k1")
        assert json.loads(greeting["AIRFLOW_CONN_SEEDREAM_DEFAULT"])["host"] == greeting["url"]
        assert (process.returncode, output, errors) == (0, b"", b"")

    @pytest.mark.parametrize("arguments", [["--set", "colour=red"], ["--set", "error_shape=round"]])
    def test_it_refuses_what_it_does_not_know(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == 2
        assert capsys.readouterr().err.startswith("seedream emulator: ")


class TestThePlugin:
    def test_a_users_test_gets_a_server_and_a_connection(self, tmp_path: Path) -> None:
        (tmp_path / "conftest.py").write_text(
            'pytest_plugins = ["airflow_provider_seedream.emulator.pytest_plugin"]\n', encoding="utf-8"
        )
        (tmp_path / "test_mine.py").write_text(_USERS_TEST, encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr


_USERS_TEST = """
import json, os, requests

def test_mine(seedream_emulator):
    connection = json.loads(os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"])
    headers = {"Authorization": "Bearer " + connection["password"]}
    requests.post(connection["host"] + "/v1/images/seedream/v5/lite/generate/", json={"prompt": "a"}, headers=headers)
    assert seedream_emulator.books.posts == 1

def test_the_next_one(seedream_emulator):
    assert seedream_emulator.books.posts == 0
"""


class TestIndependence:
    def test_it_imports_neither_airflow_nor_the_client(self) -> None:
        code = (
            "import sys, airflow_provider_seedream.emulator.__main__;"
            "print([name for name in sys.modules if name.split('.')[0] == 'airflow'"
            " or name.startswith('airflow_provider_seedream.') and '.emulator' not in name])"
        )
        output = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        assert output.strip() == "[]"

    def test_without_pillow_it_names_the_extra(self) -> None:
        code = (
            "import sys; sys.modules['PIL'] = None; from airflow_provider_seedream.emulator import Emulator"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
        )
        assert "pip install 'airflow-provider-seedream[emulator]'" in run.stderr
