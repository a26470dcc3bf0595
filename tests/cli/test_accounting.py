"""The sums of a folder and their export, against the server's books."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet
import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.ledger.records import LATE
from tests.cli.conftest import Buy, Run

Lose = Callable[..., str]
Price = Callable[[int], None]


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def changed(uri: str, **fields: object) -> None:
    path_of(uri).write_text(json.dumps(json.loads(path_of(uri).read_text()) | fields))


@pytest.fixture
def set_price(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Price:
    """Sets what the API charges for an image, as the connection says too."""

    def set_price(credits_per_image: int) -> None:
        emulator.configure(credits_per_image=credits_per_image)
        connection = {
            **json.loads(emulator.airflow_connection_json()),
            "extra": {"credits_per_image": credits_per_image},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))

    return set_price


@pytest.fixture
def night(buy: Buy, run: Run, destination: str) -> Sequence[str]:
    """Generations of two runs: landed, partial, refunded, moderated and in flight; their URIs of records."""
    bought = [
        buy("a landed watch", num_images=2),
        buy("a partial watch [partial:1]", num_images=2),
        buy("a failed watch [fail]"),
        buy("a moderated watch [safety]", num_images=3),
        buy("a watch in flight", run_id="tuesday"),
    ]
    for one in bought[:4]:
        run("land", one.seedream_task_id, destination, "--timeout", "0")
    # as a task writes it when the wait for the second image is over
    changed(bought[1].record or "", outcome="partial")
    return [one.record or "" for one in bought]


class TestSpending:
    @pytest.mark.parametrize(
        "price",
        [
            pytest.param(10, id="the documented price", marks=pytest.mark.slow),
            pytest.param(30, id="another one"),
        ],
    )
    def test_its_sums_are_the_servers_books(
        self,
        price: int,
        run: Run,
        set_price: Price,
        request: pytest.FixtureRequest,
        destination: str,
        emulator: Emulator,
    ) -> None:
        set_price(price)
        request.getfixturevalue("night")
        total = run("spending", destination, "-o", "json").json["total"]
        books = emulator.books
        assert total["paid"] + total["refunded"] == books.credits_charged == 9 * price
        assert total["refunded"] == books.credits_refunded == 4 * price
        assert (total["requests"], total["images"], total["in_flight"], total["unknown"]) == (
            books.posts,
            3,
            price,
            0,
        )

    def test_a_line_for_each_of_what_was_asked_for_and_all_lines_add_up(
        self, run: Run, night: Sequence[str], destination: str
    ) -> None:
        today = datetime.now(UTC).date().isoformat()
        changed(night[0], intent_at="2026-03-01T23:59:59Z")
        changed(night[1], labels={"team": "art", "product": "watch"})
        names = {
            "day": [["2026-03-01"], [today]],
            "dag": [["watches"]],
            "run": [["watches", "monday"], ["watches", "tuesday"]],
            "task": [["watches", "submit"]],
            "label": [[""], ["product=watch, team=art"]],
        }
        for by, groups in names.items():
            said = run("spending", destination, "--by", by, "-o", "json").json
            facts = [[value for value in row.values() if isinstance(value, str)] for row in said["rows"]]
            assert facts == groups
            for column, total in said["total"].items():
                assert sum(row[column] for row in said["rows"]) == total

    def test_a_period_is_from_its_first_instant_to_before_its_last(
        self, run: Run, night: Sequence[str], destination: str
    ) -> None:
        for record, at in zip(
            night, ("2026-03-01T00:00:00Z", "2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z"), strict=False
        ):
            changed(record, intent_at=at)
        said = run(
            "spending", destination, "--since", "2026-03-01", "--until", "2026-03-02", "-o", "json"
        ).json
        assert said["total"]["requests"] == 2
        assert run("spending", destination, "--since", "2026-03-02", "--until", "2026-03-02").code == 2

    def test_an_unknown_outcome_is_at_risk_and_not_paid(
        self, run: Run, buy: Buy, lose: Lose, destination: str
    ) -> None:
        buy()
        lose()
        ended = run("spending", destination)
        assert "Credits paid: 10 (of these in flight: 10), refunded: 0, unknown: 10." in ended.out
        assert ended.code == 0

    def test_a_file_that_cannot_be_read_is_named_and_no_success(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        hidden = buy().record or ""
        buy("another")
        path_of(hidden).write_text("{")
        ended = run("spending", destination, "-o", "json")
        assert (ended.code, ended.json["unreadable"], ended.json["total"]["paid"]) == (1, [hidden], 10)

    def test_news_of_a_second_post_counts_and_news_that_its_record_tells_does_not(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        record = path_of(buy().record or "")
        fields = json.loads(record.read_text())
        (path_of(destination) / LATE).mkdir()
        for claim, task_id in (
            ("another", "0b8c1f0e-5a63-4b0e-9b0c-2f6f3a1d7c11"),
            (fields["claim"], fields["seedream_task_id"]),
        ):
            news = fields | {"claim": claim, "seedream_task_id": task_id}
            (path_of(destination) / LATE / f"{fields['key']}.1.{claim}.json").write_text(json.dumps(news))
        assert run("spending", destination, "-o", "json").json["total"]["paid"] == 20

    def test_folders_add_up_each_once(self, run: Run, buy: Buy, destination: str, tmp_path: Path) -> None:
        buy()
        path_of(destination).rename(tmp_path / "all")
        (tmp_path / "watches").mkdir()
        (tmp_path / "all").rename(tmp_path / "watches" / "monday")
        said = run(
            "spending",
            f"{destination}/monday",
            f"{destination}/monday/",
            destination,
            "--recursive",
            "-o",
            "json",
        ).json
        assert (said["destinations"], said["total"]["paid"]) == ([f"{destination}/monday"], 10)
        mistyped = run("spending", f"{destination}/monday", f"{destination}/tuesday")
        assert (mistyped.code, mistyped.out) == (2, "")


class TestCaps:
    def test_what_is_left_of_the_caps_of_a_connection_is_said_by_its_books(
        self, run: Run, buy: Buy, destination: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        extra = {"books": destination, "max_credits_per_day": 50, "label_caps": {"team=art": {"month": 20}}}
        connection = {**json.loads(emulator.airflow_connection_json()), "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        buy(num_images=3)
        said = run("spending", destination, "--conn-id", "seedream_default", "-o", "json").json
        assert [(cap["cap"], cap["spent"], cap["left"]) for cap in said["caps"]] == [
            ("max_credits_per_day=50", 30, 20),
            ("label_caps team=art month=20", 0, 20),
        ]
        assert "max_credits_per_day=50" in run("spending", destination, "--conn-id", "seedream_default").out

    def test_a_plan_says_for_how_many_of_its_requests_they_leave_room(
        self,
        run: Run,
        buy: Buy,
        destination: str,
        emulator: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        extra = {"books": destination, "max_credits_per_day": 50, "label_caps": {"team=art": {"month": 10}}}
        connection = {**json.loads(emulator.airflow_connection_json()), "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        buy(num_images=3)
        (tmp_path / "table.jsonl").write_text(
            "".join(f'{{"prompt": "watch {number}"}}\n' for number in range(4))
        )
        command = ("plan", f"{tmp_path}/table.jsonl", destination)
        books = sorted(path_of(destination).rglob("*"))
        assert run(*command, "-o", "json").json["within_caps"] is None
        plan = run(*command, "--conn-id", "seedream_default", "-o", "json").json
        assert (plan["requests"], plan["within_caps"]["requests"], plan["within_caps"]["credits"]) == (
            4,
            2,
            20,
        )
        said = run(*command, "--conn-id", "seedream_default", "--label", "team=art")
        assert (
            "The caps of seedream_default now leave room for 1 of 4 requests: 10 of 40 credits." in said.out
        )
        assert "label_caps team=art month=10" in said.out
        assert sorted(path_of(destination).rglob("*")) == books
        other = run(*command, "--conn-id", "seedream_default", "--label", "team=Art")
        assert (other.code, "the case of letters counts" in other.err) == (2, True), (
            "a run would be refused, too"
        )
        alone = run(*command, "--label", "team=art")
        assert (alone.code, "--label needs --conn-id" in alone.err) == (2, True)


class TestExport:
    def test_its_sums_are_the_servers_books_and_its_columns_have_types(
        self,
        run: Run,
        set_price: Price,
        request: pytest.FixtureRequest,
        destination: str,
        emulator: Emulator,
        tmp_path: Path,
    ) -> None:
        set_price(30)
        request.getfixturevalue("night")
        ended = run("export", destination, f"file://{tmp_path}/books/ledger.parquet", "-o", "json")
        assert ended.code == 0, ended.err
        table = pyarrow.parquet.read_table(tmp_path / "books" / "ledger.parquet")
        columns, books = table.to_pydict(), emulator.books
        assert sum(columns["charged_credits"]) == books.credits_charged == ended.json["charged_credits"]
        assert sum(columns["refunded_credits"]) == books.credits_refunded == ended.json["refunded_credits"]
        assert sorted(columns["seedream_task_id"]) == sorted(
            one.seedream_task_id for one in books.submissions
        )
        assert sorted(zip(columns["prompt"], columns["images_landed"], strict=True)) == [
            ("a failed watch [fail]", 0),
            ("a landed watch", 2),
            ("a moderated watch [safety]", 0),
            ("a partial watch [partial:1]", 1),
            ("a watch in flight", 0),
        ]
        types = {
            name: str(table.schema.field(name).type).split(" ('")[0]
            for name in ("charged_credits", "intent_at", "labels", "prompt")
        }
        assert types == {
            "charged_credits": "int64",
            "intent_at": "timestamp[us, tz=UTC]",
            "labels": "map<string, string",
            "prompt": "string",
        }
        assert all(abs((datetime.now(UTC) - at).total_seconds()) < 300 for at in columns["intent_at"])

    def test_an_unknown_outcome_is_a_row_of_its_own_sum(
        self, run: Run, lose: Lose, destination: str, tmp_path: Path
    ) -> None:
        lost = lose()
        file = tmp_path / "ledger.parquet"
        file.write_text("an older export")
        assert run("export", destination, str(file)).code == 0
        [row] = pyarrow.parquet.read_table(file).to_pylist()
        assert (row["record"], row["paid"], row["charged_credits"], row["at_risk_credits"]) == (
            lost,
            "unknown",
            0,
            10,
        )
        assert list(tmp_path.glob("*.parquet")) == [file]

    @pytest.mark.parametrize("file", ["ledger.csv", ".parquet", "http://host/ledger.parquet"])
    def test_a_file_of_another_kind_is_a_wrong_call(
        self, file: str, run: Run, buy: Buy, destination: str
    ) -> None:
        buy()
        assert run("export", destination, file).code == 2

    def test_a_file_that_cannot_be_written_is_an_error(
        self, run: Run, buy: Buy, destination: str, tmp_path: Path
    ) -> None:
        buy()
        (tmp_path / "ledger.parquet").mkdir()
        ended = run("export", destination, f"file://{tmp_path}/ledger.parquet")
        assert (ended.code, ended.out) == (1, "")
        assert "Cannot write" in ended.err
