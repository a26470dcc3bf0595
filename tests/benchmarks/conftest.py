"""One server, one report: ``make bench`` ends with its table,
``PYTEST_ARGS=--picture=docs/performance.svg`` draws it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.certificate import Certificate, make_certificate
from tests.benchmarks.measuring import Server, null_server
from tests.benchmarks.rate_picture import Rates, draw
from tests.benchmarks.report import Report
from tests.stores.servers import missing, s3_store

_report = Report()
_rates: Rates = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--picture", type=Path, help="write the benchmarks' ratios to this SVG file")
    parser.addoption(
        "--rate-picture", type=Path, help="write how much of its key's limit a batch uses to this SVG file"
    )
    parser.addoption(
        "--full",
        action="store_true",
        help="land 200 images of 4 MB and 2,000 of 200 KB, once, instead of few twice",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _report.rows:
        return
    terminalreporter.write_line(_report.table())
    if picture := config.getoption("--picture"):
        _report.write_picture(picture)
    if _rates and (picture := config.getoption("--rate-picture")):
        picture.write_text(draw(_rates, ours="today"), encoding="utf-8")


@pytest.fixture(scope="session")
def report() -> Report:
    return _report


@pytest.fixture(scope="session")
def rates() -> Rates:
    """Filled by the benchmark of the rate, and drawn at the end."""
    return _rates


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def server(certificate: Certificate) -> Iterator[Server]:
    with null_server(certificate) as running:
        yield running


@pytest.fixture(scope="module", params=["file", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an empty folder: on this disk, and in a real S3 server where one is installed."""
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "file":
        yield f"file://{root}"
        return
    if sentence := missing("s3"):
        pytest.skip(sentence)
    with s3_store(root) as store, _environment(store.environment):
        yield store.fresh_place().uri


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in values.items():
            environment.setenv(name, value)
        yield
