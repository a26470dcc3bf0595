"""The emulator over https: who trusts it, what it prints, and an answer that comes before the body was
read.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.emulator.client import Client, picture


@pytest.fixture(scope="module")
def secure() -> Iterator[Emulator]:
    with Emulator(
        Settings.fast(tls=True, seconds_per_image=0, late_assets_seconds=0, link_names="plain")
    ) as running:
        yield running


@pytest.fixture
def emulator(secure: Emulator) -> Iterator[Emulator]:
    yield secure
    secure.reset()


class TestTheCertificate:
    def test_both_origins_speak_https_alone(self, emulator: Emulator, client: Client) -> None:
        link = client.link()
        assert emulator.url.startswith("https://127.0.0.1:")
        assert link.startswith(emulator.storage_url + "/")
        picture(requests.get(link, timeout=10, verify=emulator.ca_file).content)
        with pytest.raises(requests.ConnectionError):
            requests.get(emulator.url.replace("https", "http"), timeout=10)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_the_strictest_client_trusts_it_by_its_file(self, emulator: Emulator, host: str) -> None:
        context = ssl.create_default_context(cafile=emulator.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default of Python 3.13
        port = int(emulator.url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            assert tls.getpeercert()

    def test_a_client_that_was_not_told_refuses_it(self, emulator: Emulator) -> None:
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(emulator.url, timeout=10)

    def test_its_connection_names_the_file(self, emulator: Emulator) -> None:
        models = pytest.importorskip("airflow.sdk")
        by_json = models.Connection.from_json(emulator.airflow_connection_json(), conn_id="seedream_default")
        by_uri = models.Connection.from_uri(emulator.connection_uri(), conn_id="seedream_default")
        assert by_json.extra_dejson == by_uri.extra_dejson == {"verify": emulator.ca_file}

    def test_the_files_are_gone_with_the_server(self) -> None:
        with Emulator(Settings.fast(tls=True)) as running:
            folder = Path(str(running.ca_file)).parent
            assert {file.name for file in folder.iterdir()} == {"ca.pem", "server.pem"}
        assert not folder.exists()

    def test_it_is_chosen_at_the_start_alone(self, emulator: Emulator) -> None:
        with pytest.raises(ValueError, match="tls is chosen when the emulator starts"):
            emulator.configure(tls=False)

    def test_the_command_prints_the_file(self) -> None:
        command = [sys.executable, "-m", "airflow_provider_seedream.emulator", "--tls"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            greeting = json.loads(process.stdout.readline())
            headers = {"Authorization": f"Bearer {greeting['key']}"}
            wallet = requests.get(
                f"{greeting['url']}/account/user/wallet/",
                headers=headers,
                timeout=5,
                verify=greeting["ca_file"],
            )
            process.send_signal(signal.SIGTERM)
        assert wallet.status_code == 200
        assert not Path(greeting["ca_file"]).exists()


def read_after_every_failure(emulator: Emulator, body: bytes) -> bytes:
    """Send a body over TLS and read on although sending failed: what the server had said by then."""
    context = ssl.create_default_context(cafile=emulator.ca_file)
    port = int(emulator.url.rpartition(":")[2])
    head = (
        "POST /v1/images/seedream/v5/lite/edit/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        f"{emulator.key}\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=True) as tls:
            with pytest.raises(OSError):
                tls.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            return tls.recv(4096)


class TestAnEarlyAnswer:
    def test_it_stands_behind_an_error_of_the_sending_side(self, emulator: Emulator) -> None:
        emulator.inject("early-answer", status=402)
        assert read_after_every_failure(emulator, bytes(14_000_000)).startswith(b"HTTP/1.1 402 ")
        assert (emulator.books.posts, emulator.books.requests[-1].status) == (0, 402)

    def test_requests_alone_loses_it(self, emulator: Emulator, client: Client) -> None:
        """Why the provider has a connection class of its own: what it must cope with happens here."""
        emulator.inject("early-answer", status=413)
        with pytest.raises(requests.exceptions.SSLError, match="EOF occurred in violation of protocol"):
            client.post(None, "edit", json=None, data=bytes(14_000_000), verify=emulator.ca_file)
