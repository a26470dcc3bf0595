"""Ports are chosen long before their servers bind them: a port that is held cannot go to another program
meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.local_airflow import LocalAirflow
from tools.processes import HeldPort


@pytest.fixture
def held() -> Iterator[HeldPort]:
    port = HeldPort()
    yield port
    port.release()


def another_program_gets(port: int) -> bool:
    with socket.socket() as other, contextlib.suppress(OSError):
        other.bind(("127.0.0.1", port))
        return True
    return False


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class TestAHeldPort:
    def test_a_held_port_goes_to_no_other_program_and_answers_nobody(self, held: HeldPort) -> None:
        assert not another_program_gets(held.number)
        assert not answers(held.number)
        with pytest.raises(OSError):
            HeldPort(held.number)

    def test_a_held_port_goes_to_the_server_it_is_held_for(self, held: HeldPort) -> None:
        async def serve() -> bool:
            async with await asyncio.start_server(
                lambda reader, writer: writer.close(), "127.0.0.1", held.number
            ):
                return await asyncio.to_thread(answers, held.number)

        assert asyncio.run(serve())

    def test_a_held_port_is_another_one_where_the_preferred_one_is_taken(self, held: HeldPort) -> None:
        other = HeldPort.preferring(held.number)
        other.release()
        assert other.number != held.number

    def test_a_held_port_is_free_when_it_is_released(self, held: HeldPort) -> None:
        held.release()
        assert another_program_gets(held.number)


def test_an_airflow_holds_its_port_before_it_has_a_database(tmp_path: Path) -> None:
    airflow = LocalAirflow(tmp_path, dags=tmp_path / "dags")
    assert airflow.url.endswith(f":{airflow.port}")
    assert not another_program_gets(airflow.port)
    airflow.stop()
    assert another_program_gets(airflow.port)
