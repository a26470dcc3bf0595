"""A line as slow as the world's: a TCP proxy that delays the answers of a real server, or lets uploads pass
at a given speed.

``python -m tests.benchmarks.slow_line PORT DELAY_SECONDS UPLOAD_BYTES_PER_SECOND`` prints its own port. For
each line on its standard input it prints how many HTTP requests have passed since the last one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

from tests.benchmarks.measuring import CHECKOUT

_REQUEST = b" HTTP/1.1\r\n"  # ends the first line of each request
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A running proxy; ``port`` is where its clients connect."""

    port: int
    process: subprocess.Popen[str]

    def requests(self) -> int:
        """How many HTTP requests have passed since this was last asked."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def slow_line(
    port: int, *, delay_seconds: float = 0.0, upload_bytes_per_second: float = inf
) -> Iterator[Line]:
    """A proxy to this port of 127.0.0.1, in a process of its own, until the block ends.

    :param delay_seconds: each piece of an answer comes so much later; pieces do not wait for each other.
    :param upload_bytes_per_second: of each connection.
    """
    argv = [
        sys.executable,
        "-m",
        "tests.benchmarks.slow_line",
        str(port),
        str(delay_seconds),
        str(upload_bytes_per_second),
    ]
    with subprocess.Popen(
        argv, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Line(int(process.stdout.readline()), process)
        finally:
            process.kill()


class _Proxy:
    def __init__(self, port: int, delay_seconds: float, upload_bytes_per_second: float) -> None:
        self._port = port
        self._delay_seconds = delay_seconds
        self._upload_bytes_per_second = upload_bytes_per_second
        self._requests = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        commands = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
        )
        while await commands.readline():
            print(self._requests, flush=True)
            self._requests = 0

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._upload(reader, to_writer))
                both.create_task(self._answer(to_reader, writer))
        except* OSError:
            pass  # one end has gone, and takes the other with it
        finally:
            writer.close()
            to_writer.close()

    async def _upload(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        tail = b""
        while piece := await source.read(_PIECE_BYTES):
            self._requests += (tail + piece).count(_REQUEST)
            tail = piece[1 - len(_REQUEST) :]
            target.write(piece)
            await target.drain()
            if self._upload_bytes_per_second < inf:
                await asyncio.sleep(len(piece) / self._upload_bytes_per_second)
        target.write_eof()

    async def _answer(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while piece := await source.read(_PIECE_BYTES):
            if self._delay_seconds:
                loop.call_later(self._delay_seconds, target.write, piece)
            else:
                target.write(piece)
                await target.drain()
        await asyncio.sleep(self._delay_seconds)
        target.write_eof()


if __name__ == "__main__":
    asyncio.run(_Proxy(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])).serve())
