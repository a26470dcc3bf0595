"""A StatsD server and an OTLP collector on 127.0.0.1 that keep what they get."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_LINE = re.compile(r"(?P<name>[^:]+):(?P<value>[\d.]+)\|(?P<kind>c|ms)")


@dataclass(slots=True)
class StatsD:
    """Sums of counters and values of timers (milliseconds), by name."""

    port: int
    counters: Counter[str] = field(default_factory=Counter)
    timers: dict[str, list[float]] = field(default_factory=dict)

    def take(self, packet: str) -> None:
        for line in packet.splitlines():
            if found := _LINE.match(line):
                if found["kind"] == "c":
                    self.counters[found["name"]] += int(found["value"])
                else:
                    self.timers.setdefault(found["name"], []).append(float(found["value"]))


@contextmanager
def statsd() -> Iterator[StatsD]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        books = StatsD(port=server.getsockname()[1])
        reading = threading.Thread(target=_read, args=(server, books))
        reading.start()
        try:
            yield books
        finally:
            server.sendto(b"", server.getsockname())
            reading.join()


def _read(server: socket.socket, books: StatsD) -> None:
    while packet := server.recv(65536):
        books.take(packet.decode())


@dataclass(slots=True)
class Collector:
    """What an OTLP collector got: the last value of every counter and tag set, the timers' sums and
    counts, the spans.
    """

    port: int = 0
    counters: dict[tuple[str, frozenset[Any]], float] = field(default_factory=dict)
    timers: dict[str, tuple[int, float]] = field(default_factory=dict)
    spans: list[Any] = field(default_factory=list)

    def total(self, name: str) -> float:
        return sum(value for (counter, _), value in self.counters.items() if counter == name)

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/metrics":
            for metric in _metrics(ExportMetricsServiceRequest.FromString(body)):
                self._take_metric(metric)
        elif path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            self.spans += [
                span
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def _take_metric(self, metric: Any) -> None:
        for point in metric.sum.data_points:
            tags = frozenset((tag.key, tag.value.string_value) for tag in point.attributes)
            self.counters[(metric.name, tags)] = point.as_int or point.as_double
        for kind in (metric.histogram, metric.exponential_histogram):
            for point in kind.data_points:
                self.timers[metric.name] = (point.count, point.sum)


def _metrics(request: ExportMetricsServiceRequest) -> Iterator[Any]:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


@contextmanager
def collector() -> Iterator[Collector]:
    books = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            books.take(
                self.path, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            )
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        books.port = server.server_address[1]
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield books
        finally:
            server.shutdown()
            serving.join()
