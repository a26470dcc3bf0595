"""What each command says and does, counted at the server."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.finish import land_generation
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.model.commands import program
from airflow_provider_seedream.model.error_lines import short_record
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.cli.conftest import Buy, Run
from tests.unit.stores import attached_store, refused

IDS = ("--dag-id", "watches", "--run-id", "monday", "--task-id", "submit")


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def changed(uri: str, **fields: object) -> None:
    """A record as another time or hand has left it."""
    path_of(uri).write_text(json.dumps(json.loads(path_of(uri).read_text()) | fields))


class TestBalance:
    def test_it_is_the_wallet_in_credits_and_images(self, run: Run) -> None:
        assert run("balance", "-o", "json").json == {
            "balance_credits": "100000.00",
            "images": 10_000,
            "requests_per_minute": None,
        }

    def test_people_get_a_table(self, run: Run) -> None:
        ended = run("balance")
        assert ended.code == 0
        assert "100000.00" in ended.out

    def test_a_refused_key_is_one_clear_line(self, run: Run, emulator: Emulator) -> None:
        emulator.configure(key="another-key")
        ended = run("balance")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("Error: ")
        assert "401" in ended.err
        assert len(ended.err.splitlines()) == 1

    def test_a_connection_that_is_not_there_is_named(self, run: Run) -> None:
        ended = run("balance", "--conn-id", "nowhere")
        assert ended.code == 2
        assert "nowhere" in ended.err

    def test_a_connection_without_a_key_is_a_wrong_call(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_KEYLESS", '{"conn_type": "seedream"}')
        ended = run("balance", "--conn-id", "keyless")
        assert ended.code == 2
        assert "no password" in ended.err


class TestStatus:
    def test_it_says_how_a_generation_stands_and_shows_no_link(self, run: Run, buy: Buy) -> None:
        task_id = buy(num_images=2).seedream_task_id
        ended = run("status", task_id, "-o", "json")
        assert ended.code == 0
        said = ended.json
        assert (said["seedream_task_id"], said["status"], said["images_ready"]) == (task_id, "FINISHED", 2)
        assert "http" not in ended.out

    def test_an_unknown_generation_is_an_error(self, run: Run) -> None:
        ended = run("status", "0b8c1f0e-5a63-4b0e-9b0c-2f6f3a1d7c11")
        assert ended.code == 1
        assert "404" in ended.err

    def test_what_can_be_no_id_is_never_sent(self, run: Run, emulator: Emulator) -> None:
        assert run("status", "../../account").code == 2
        assert emulator.books.status_calls == 0


class TestLand:
    def test_a_generation_of_the_ledger_lands_with_its_prompt_and_name(
        self, run: Run, buy: Buy, destination: str, emulator: Emulator
    ) -> None:
        bought = buy(name="hero", num_images=2)
        landed = run("land", bought.seedream_task_id, destination, "-o", "json").json
        assert [Path(image["uri"]).name for image in landed["images"]] == ["hero_1.png", "hero_2.png"]
        manifest = json.loads(path_of(landed["manifest"]).read_text())
        assert (manifest["submission"]["prompt"], manifest["credits"]) == ("a leather watch", 20)
        assert manifest["landed_by"]["command"] == "seedream land"
        assert emulator.books.posts == 1

    def test_the_ledger_is_told(self, run: Run, buy: Buy, destination: str) -> None:
        run("land", buy().seedream_task_id, destination)
        [record] = run("ledger", destination, "-o", "json").json["records"]
        assert record["outcome"] == "landed"

    def test_its_images_are_those_of_the_task_that_paid(self, run: Run, buy: Buy, destination: str) -> None:
        landed = run("land", buy(name="hero").seedream_task_id, destination, "-o", "json").json
        by = json.loads(path_of(landed["manifest"]).read_text())["landed_by"]
        assert (by["dag_id"], by["run_id"], by["task_id"], by["command"]) == (
            "watches",
            "monday",
            "submit",
            "seedream land",
        )

    def test_it_reads_no_further_record_than_it_must(
        self, run: Run, buy: Buy, destination: str, tmp_path: Path
    ) -> None:
        """The files that it has not to read are pipes: to open one would wait for ever."""
        bought = buy()
        run("land", bought.seedream_task_id, destination)
        for number in range(200):
            os.mkfifo(path_of(destination) / "_seedream" / "ledger" / f"{number:064x}.json")
        ended = run("land", bought.seedream_task_id, destination, "-o", "json")
        assert (ended.code, len(ended.json["images"])) == (0, 1)

    @pytest.mark.parametrize("command", ["land", "resolve"])
    def test_a_record_that_cannot_be_read_is_never_taken_for_none(
        self, command: str, run: Run, buy: Buy, lose: Callable[..., str], destination: str
    ) -> None:
        bought, lost = buy(name="hero"), lose()
        hidden = path_of(bought.record or "")
        hidden.rename(hidden.with_suffix(".kept"))
        hidden.mkdir()  # reading it fails, as it does where a store answers 503
        task_id = bought.seedream_task_id
        ended = (
            run("land", task_id, destination)
            if command == "land"
            else run("resolve", lost, "--paid", task_id, "--yes")
        )
        assert ended.code == 1
        assert f"Cannot read {bought.record}" in ended.err
        assert not list(path_of(destination).glob("*.png"))

    def test_a_sound_id_in_an_unsound_record_is_said_and_not_landed_without_it(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        bought = buy()
        changed(bought.record or "", credits="10")
        ended = run("land", bought.seedream_task_id, destination)
        assert ended.code == 1
        assert "cannot be understood" in ended.err

    def test_an_unsound_record_of_another_request_hinders_nobody(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        changed(buy("another watch").record or "", credits="10")
        assert run("land", buy().seedream_task_id, destination).code == 0

    def test_the_bound_of_an_image_can_be_said(self, run: Run, buy: Buy, destination: str) -> None:
        ended = run("land", buy().seedream_task_id, destination, "--max-image-bytes", "10")
        assert ended.code == 1
        assert "larger than 10 bytes" in ended.err or "10" in ended.err

    def test_it_lands_with_the_bound_that_the_task_was_given(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        bought = buy()
        changed(bought.record or "", max_image_bytes=10)
        ended = run("land", bought.seedream_task_id, destination)
        assert ended.code == 1
        assert "larger than max_image_bytes=10" in ended.err
        assert run("land", bought.seedream_task_id, destination, "--max-image-bytes", "10000000").code == 0

    @pytest.mark.parametrize(
        ("told", "option", "is_marked"),
        [
            (True, [], True),
            (None, [], False),
            (None, ["--embed-metadata"], True),
            (True, ["--no-embed-metadata"], False),
            (False, ["--embed-metadata"], True),
        ],
    )
    def test_it_marks_the_files_as_the_task_was_told_unless_an_option_says_otherwise(
        self, run: Run, buy: Buy, destination: str, told: bool | None, option: list[str], is_marked: bool
    ) -> None:
        bought = buy()
        changed(bought.record or "", embed_metadata=told)
        landed = run("land", bought.seedream_task_id, destination, *option, "-o", "json").json
        data = path_of(landed["images"][0]["uri"]).read_bytes()
        assert (b"trainedAlgorithmicMedia" in data) == is_marked

    def test_metadata_that_cannot_be_written_here_lands_nothing_and_says_how_it_lands_without(
        self, run: Run, buy: Buy, destination: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bought = buy(name="hero")
        changed(bought.record or "", embed_metadata=True)
        monkeypatch.setitem(sys.modules, "exiv2", None)  # as where the extra is not installed
        ended = run("land", bought.seedream_task_id, destination)
        assert ended.code == 2
        assert "add --no-embed-metadata" in ended.err
        assert not path_of(f"{destination}/hero.json").exists()
        assert run("land", bought.seedream_task_id, destination, "--no-embed-metadata").code == 0

    def test_a_bare_id_lands_anywhere(self, run: Run, buy: Buy, tmp_path: Path) -> None:
        task_id = buy().seedream_task_id
        landed = run("land", task_id, f"file://{tmp_path}/rescued", "--name", "found", "-o", "json").json
        assert [Path(image["uri"]).name for image in landed["images"]] == ["found_1.png"]
        assert landed["credits"] is None

    def test_a_second_landing_downloads_nothing(
        self, run: Run, buy: Buy, destination: str, emulator: Emulator
    ) -> None:
        task_id = buy().seedream_task_id
        first = run("land", task_id, destination)
        downloads = emulator.books.downloads
        second = run("land", task_id, destination)
        assert (first.code, second.code, first.out) == (0, 0, second.out)
        assert emulator.books.downloads == downloads

    def test_what_is_not_ready_in_time_can_be_tried_again(
        self, run: Run, buy: Buy, destination: str, emulator: Emulator
    ) -> None:
        emulator.configure(seconds_per_image=(60.0, 60.0))
        ended = run("land", buy().seedream_task_id, destination, "--timeout", "0")
        assert ended.code == 3
        assert "Still not ready at the end of `timeout`, 0 min after the submission." in ended.err

    def test_a_connection_without_a_key_is_said_at_once(
        self, run: Run, buy: Buy, destination: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task_id = buy().seedream_task_id
        monkeypatch.setenv("AIRFLOW_CONN_KEYLESS", '{"conn_type": "seedream"}')
        ended = run("land", task_id, destination, "--conn-id", "keyless", "--timeout", "5")
        assert ended.code == 2
        assert "no password: put the API key there. Paid: yes." in ended.err

    def test_a_failed_generation_is_said_and_noted(self, run: Run, buy: Buy, destination: str) -> None:
        ended = run("land", buy("a watch [fail]").seedream_task_id, destination)
        assert ended.code == 1
        assert "Paid: refunded." in ended.err
        assert run("ledger", destination, "-o", "json").json["credits"] == {
            "yes": 0,
            "refunded": 10,
            "unknown": 0,
        }

    @pytest.mark.parametrize("status", [404, 200], ids=["unknown to the API", "FINISHED without links"])
    def test_results_that_have_expired_are_said_to_be(
        self, run: Run, buy: Buy, destination: str, emulator: Emulator, status: int
    ) -> None:
        emulator.configure(expired_status=status)
        bought = buy()
        emulator.clock.advance(25 * 3600)
        changed(bought.record or "", created_at="2026-01-01T00:00:00Z")
        ended = run("land", bought.seedream_task_id, destination)
        assert ended.code == 1
        assert "expired" in ended.err

    def test_fewer_images_than_asked_for_are_shown_and_no_success(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        bought = buy("a watch [partial:1]", num_images=2)
        hook = SeedreamHook()
        land_generation(bought, hook, hook.downloads(max_bytes=10_000_000), landed_by=TaskRef())
        ended = run("land", bought.seedream_task_id, destination)
        assert ended.code == 1
        assert "1 of 2 images came" in ended.err
        assert f"{bought.seedream_task_id}_1.png" in ended.out

    def test_images_that_may_still_come_are_waited_for_and_those_that_are_ready_landed(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        bought = buy("a watch [partial:1]", num_images=2)
        ended = run("land", bought.seedream_task_id, destination, "--timeout", "0")
        assert ended.code == 3
        assert "1 of 2 images were ready; they are landed." in ended.err
        assert f"{bought.seedream_task_id}_1.png" in ended.out
        assert len(list(path_of(destination).glob("*.json"))) == 1

    def test_a_folder_that_is_none_is_a_wrong_call(self, run: Run, buy: Buy) -> None:
        ended = run("land", buy().seedream_task_id, "relative/folder")
        assert ended.code == 2
        assert "absolute" in ended.err


class TestLedger:
    @pytest.mark.parametrize("price", [10, 30])
    def test_it_adds_up_what_was_paid_by_run_and_outcome(
        self,
        run: Run,
        buy: Buy,
        lose: Callable[..., str],
        destination: str,
        emulator: Emulator,
        price: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        emulator.configure(credits_per_image=price)
        connection = {**json.loads(emulator.airflow_connection_json()), "extra": {"credits_per_image": price}}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        run("land", buy(num_images=2).seedream_task_id, destination)
        buy("another watch", run_id="tuesday")
        lost = lose(run_id="tuesday")
        said = run("ledger", destination, "-o", "json").json
        assert said["credits"] == {"yes": 3 * price, "refunded": 0, "unknown": price}
        assert sorted(
            (row["run_id"], row["outcome"], row["paid"], row["requests"], row["credits"])
            for row in said["runs"]
        ) == [
            ("monday", "landed", "yes", 1, 2 * price),
            ("tuesday", "submitted", "yes", 1, price),
            ("tuesday", "unknown", "unknown", 1, price),
        ]
        assert [record["record"] for record in said["records"] if record["paid"] == "unknown"] == [lost]

    def test_people_see_what_needs_them(
        self, run: Run, buy: Buy, lose: Callable[..., str], destination: str
    ) -> None:
        paid, lost = buy(), lose()
        out = run("ledger", destination).out
        assert "Credits paid: 10, refunded: 0, unknown: 10." in out
        assert f"To be resolved, each with --paid ID or --not-paid:\n{program()} resolve {lost}\n" in out
        assert paid.seedream_task_id not in out
        assert paid.seedream_task_id in run("ledger", destination, "--records").out

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            (["--run-id", "monday"], ["one"]),
            (["--outcome", "submitted"], ["two"]),
            (["--outcome", "submitted", "--outcome", "landed"], ["one", "two"]),
            (["--dag-id", "watches", "--task-id", "submit"], ["one", "two"]),
            (["--dag-id", "shoes"], []),
            (["--since", "2020-01-01T00:00:00Z"], ["one", "two"]),
            (["--since", "2999-01-01T00:00:00Z"], []),
        ],
    )
    def test_filters_choose_the_records_that_are_shown(
        self, run: Run, buy: Buy, destination: str, filters: list[str], names: list[str]
    ) -> None:
        run("land", buy(name="one").seedream_task_id, destination)
        buy("another watch", name="two", run_id="tuesday")
        said = run("ledger", destination, "-o", "json", *filters).json
        assert sorted(record["name"] for record in said["records"]) == names

    def test_a_record_that_cannot_be_read_is_never_no_record(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        record = buy().record or ""
        path_of(record).write_text("{")
        assert run("ledger", destination, "-o", "json").json["unreadable"] == [record]
        assert "may hide a payment" in run("ledger", destination).out

    def test_a_folder_without_a_ledger_is_no_folder_in_which_nothing_was_paid(
        self, run: Run, destination: str
    ) -> None:
        ended = run("ledger", destination)
        assert (ended.code, ended.out) == (2, "")
        assert f"There is no ledger in {destination}" in ended.err

    def test_the_parent_of_dated_folders_names_them_and_adds_them_up_when_asked(
        self, run: Run, buy: Buy, destination: str, tmp_path: Path
    ) -> None:
        buy()
        path_of(destination).rename(tmp_path / "2026-11-22")
        buy()
        path_of(destination).rename(tmp_path / "2026-11-23")
        ended = run("ledger", f"file://{tmp_path}")
        assert (ended.code, ended.out) == (2, "")
        assert f"file://{tmp_path}/2026-11-22, file://{tmp_path}/2026-11-23" in ended.err
        said = run("ledger", f"file://{tmp_path}", "--recursive", "-o", "json").json
        assert said["credits"] == {"yes": 20, "refunded": 0, "unknown": 0}
        assert all(path_of(record["record"]).exists() for record in said["records"])

    @pytest.mark.parametrize(
        ("fail_on", "code"),
        [("", 0), ("unreadable", 0), ("unknown", 1), ("unknown,unreadable", 1), ("landed", 2)],
    )
    def test_an_unknown_outcome_can_fail_a_script(
        self, fail_on: str, code: int, run: Run, lose: Callable[..., str], destination: str
    ) -> None:
        lose()
        assert run("ledger", destination, "--fail-on", fail_on).code == code

    def test_a_record_that_cannot_be_read_can_fail_a_script(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        path_of(buy().record or "").write_text("{")
        assert run("ledger", destination, "--fail-on", "unreadable").code == 1

    @pytest.mark.parametrize(
        "fields",
        [
            {"credits": "10"},
            {"intent_at": None},
            {"attempt": -1},
            {"settles_at": "soon"},
            {"refunded": "no"},
            {"detail": 7},
        ],
    )
    def test_a_record_that_a_person_has_edited_is_one_unreadable_record(
        self, fields: dict[str, object], run: Run, buy: Buy, destination: str
    ) -> None:
        record = buy().record or ""
        buy("another watch")
        changed(record, **fields)
        said = run("ledger", destination, "-o", "json").json
        assert (said["unreadable"], said["credits"]["yes"]) == ([record], 10)

    def test_a_store_that_does_not_answer_is_an_error_and_no_traceback(self, run: Run) -> None:
        uri, store = attached_store()
        store.trouble("ls", refused)
        ended = run("ledger", uri)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith(f"Error: Cannot list {uri}")

    def test_a_filter_that_leaves_out_requests_says_of_how_many(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        """0 requests is what a typing error gives, too; it must not read as "nothing was paid"."""
        buy(name="one")
        buy(name="two", run_id="tuesday")
        assert (
            run("ledger", destination, "--run-id", "tuesday")
            .out.rstrip()
            .splitlines()[-1]
            .startswith("1 of 2 requests. Credits")
        )
        assert run("ledger", destination, "--run-id", "sunday").out.startswith(
            "0 of 2 requests. Credits paid: 0"
        )
        assert run("ledger", destination).out.rstrip().splitlines()[-1].startswith("2 requests. Credits")

    def test_a_blank_filter_as_an_unset_variable_gives_is_a_wrong_call(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        buy()
        ended = run("ledger", destination, "--dag-id", "")
        assert (ended.code, ended.out) == (2, "")
        assert "--dag-id must not be blank" in ended.err

    def test_one_request_is_no_requests(self, run: Run, buy: Buy, destination: str) -> None:
        buy()
        assert run("ledger", destination).out.endswith(
            "1 request. Credits paid: 10, refunded: 0, unknown: 0.\n"
        )

    def test_escapes_for_a_terminal_are_shown_and_not_sent(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        buy("\x1b]0;evil\x07\x1b[2J a watch \u202e")
        out = run("ledger", destination, "--records").out
        assert r"\x1b]0;evil\x07\x1b[2J a watch \u202e" in out
        assert not set(out) & {"\x1b", "\x07", "\u202e"}

    def test_an_instant_that_is_none_is_a_wrong_call(self, run: Run, destination: str) -> None:
        assert run("ledger", destination, "--since", "yesterday").code == 2

    def test_it_needs_no_api(self, run: Run, buy: Buy, destination: str, emulator: Emulator) -> None:
        buy()
        before = emulator.books.counters()
        run("ledger", destination)
        assert emulator.books.counters() == before


class TestResolve:
    def test_a_paid_one_gets_its_id_and_is_attached_to(
        self, run: Run, buy: Buy, lose: Callable[..., str], destination: str, emulator: Emulator
    ) -> None:
        record = lose()
        task_id = emulator.books.submissions[0].seedream_task_id
        ended = run("resolve", record, "--paid", task_id, "--yes", "-o", "json")
        assert (ended.code, ended.json["outcome"], ended.json["seedream_task_id"]) == (
            0,
            "submitted",
            task_id,
        )
        assert "attaches to it and pays nothing" in ended.err
        assert buy("a watch [drop-after-accept]").seedream_task_id == task_id
        assert emulator.books.posts_received == 1

    def test_one_that_was_not_paid_is_freed_with_its_name_and_sent_again(
        self, run: Run, buy: Buy, lose: Callable[..., str], emulator: Emulator
    ) -> None:
        record = lose("[drop*1]", name="hero")
        ended = run("resolve", record, "--not-paid", "--yes")
        assert ended.code == 0
        assert not path_of(record).exists()
        assert not list(path_of(record).parents[1].glob("names/*"))
        assert buy("a watch [drop*1]", name="hero").record == record
        assert (emulator.books.posts_received, emulator.books.posts) == (2, 1)

    def test_a_record_is_found_by_its_folder_and_its_first_letters_as_a_log_names_it(
        self, run: Run, lose: Callable[..., str], destination: str
    ) -> None:
        record = lose("[drop*1]")
        assert run("resolve", destination, "zzz", "--not-paid", "--yes").code == 2
        ended = run("resolve", *short_record(record).rsplit(" ", 1), "--not-paid", "--yes")
        assert (ended.code, path_of(record).exists()) == (0, False)

    def test_an_intent_whose_request_has_ended_is_unknown_too(
        self, run: Run, lose: Callable[..., str], emulator: Emulator
    ) -> None:
        record = lose()
        changed(record, outcome="intent", settles_at="2026-01-01T00:00:00Z")
        task_id = emulator.books.submissions[0].seedream_task_id
        assert run("resolve", record, "--paid", task_id, "--yes").code == 0

    def test_an_intent_whose_request_may_be_on_its_way_is_left_alone(
        self, run: Run, lose: Callable[..., str]
    ) -> None:
        record = lose()
        changed(record, outcome="intent", settles_at="2999-01-01T00:00:00Z")
        ended = run("resolve", record, "--not-paid", "--yes")
        assert ended.code == 2
        assert "on its way" in ended.err
        assert path_of(record).exists()

    def test_a_known_outcome_is_left_alone(self, run: Run, buy: Buy) -> None:
        record = buy().record or ""
        before = path_of(record).read_bytes()
        ended = run("resolve", record, "--not-paid", "--yes")
        assert ended.code == 2
        assert "'submitted'" in ended.err
        assert path_of(record).read_bytes() == before

    def test_an_id_that_the_api_does_not_know_is_refused(self, run: Run, lose: Callable[..., str]) -> None:
        ended = run("resolve", lose(), "--paid", "0b8c1f0e-5a63-4b0e-9b0c-2f6f3a1d7c11", "--yes")
        assert ended.code == 2
        assert "does not know this id" in ended.err

    def test_an_id_of_another_request_is_refused(self, run: Run, buy: Buy, lose: Callable[..., str]) -> None:
        ended = run("resolve", lose(), "--paid", buy().seedream_task_id, "--yes")
        assert ended.code == 2
        assert "belongs to another request" in ended.err

    @pytest.mark.parametrize("status", [404, 410, 200])
    def test_results_that_are_gone_are_noted_as_expired(
        self, run: Run, lose: Callable[..., str], emulator: Emulator, status: int
    ) -> None:
        emulator.configure(expired_status=status)
        record = lose()
        changed(record, intent_at="2026-01-01T00:00:00Z")
        task_id = emulator.books.submissions[0].seedream_task_id
        emulator.clock.advance(25 * 3600)
        assert run("resolve", record, "--paid", task_id, "--yes", "-o", "json").json["outcome"] == "expired"

    def test_a_record_with_a_later_attempt_behind_it_is_given_back_and_hides_nothing(
        self, run: Run, lose: Callable[..., str]
    ) -> None:
        record = lose()
        later = record.replace(".json", ".2.json")
        path_of(later).write_text(path_of(record).read_text())
        changed(later, attempt=2)
        assert run("resolve", record, "--not-paid", "--yes").code == 0
        assert json.loads(path_of(record).read_text())["outcome"] == "not_paid"
        ledger = Ledger(record.partition("/_seedream/")[0])
        latest = ledger.latest(path_of(record).stem)
        assert latest is not None
        assert latest.attempt == 2

    def test_a_paid_attempt_behind_which_a_later_one_stands_is_said_to_need_a_landing_of_its_own(
        self, run: Run, lose: Callable[..., str], emulator: Emulator, destination: str
    ) -> None:
        record = lose()
        later = record.replace(".json", ".2.json")
        path_of(later).write_text(path_of(record).read_text())
        changed(later, attempt=2)
        task_id = emulator.books.submissions[0].seedream_task_id
        ended = run("resolve", record, "--paid", task_id, "--yes")
        assert ended.code == 0
        assert (
            f"its task attaches to the later attempt; land this one with `{program()} land {task_id} "
            f"{destination}`" in ended.err
        )

    @pytest.mark.parametrize("said", [[], ["--paid", "0b8c1f0e", "--not-paid"]])
    def test_one_of_the_two_has_to_be_said(self, run: Run, lose: Callable[..., str], said: list[str]) -> None:
        assert run("resolve", lose(), *said).code == 2

    def test_without_yes_and_without_a_terminal_nothing_is_done(
        self, run: Run, lose: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = lose()
        ended = run("resolve", record, "--not-paid")
        assert ended.code == 2
        assert "This removes the record" in ended.err
        assert path_of(record).exists()

    def test_what_is_no_record_is_said(self, run: Run, destination: str) -> None:
        assert run("resolve", f"{destination}/hero.json", "--not-paid").code == 2
        assert run("resolve", f"{destination}/_seedream/ledger/{'a' * 64}.json", "--not-paid").code == 2


class TestPrice:
    TABLE = (
        "prompt,num_images,image_size,images\na watch,2,square_hd,\na "
        "strap,,,s3://aws_default@bucket/strap.png\n"
    )

    def test_it_adds_up_a_table_and_asks_nobody(self, run: Run, emulator: Emulator, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text(self.TABLE)
        said = run("price", f"file://{tmp_path}/table.csv", "-o", "json").json
        assert said == {
            "rows": 2,
            "generate": 1,
            "edit": 1,
            "images": 3,
            "credits": 30,
            "invalid": 0,
            "minutes": 0.7,
            "assumed": {"num_images": 1, "requests_per_minute": 3},
            "refused": [],
        }
        assert emulator.books.requests == ()
        assert (
            run("price", f"{tmp_path}/table.csv", "--credits-per-image", "30", "-o", "json").json["credits"]
            == 90
        )

    def test_a_relative_path_is_the_persons_own(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "table.jsonl").write_text('{"prompt": "a watch"}\n')
        monkeypatch.chdir(tmp_path)
        ended = run("price", "table.jsonl")
        assert (ended.code, "10" in ended.out) == (0, True)

    def test_rows_that_are_wrong_are_named_by_their_line(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "table.jsonl").write_text(
            '{"prompt": "a watch"}\n{"prompt": "a watch", "num_images": 7}\n'
        )
        ended = run("price", f"{tmp_path}/table.jsonl", "-o", "json")
        assert (ended.code, ended.json["credits"], ended.json["invalid"]) == (2, 10, 1)
        [refused] = ended.json["refused"]
        assert refused["where"] == "line 2 of table.jsonl"
        assert refused["why"].startswith("num_images must be an integer from 1 to 6")

    def test_the_operators_own_number_of_images_is_priced(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "table.jsonl").write_text(
            '{"prompt": "a watch"}\n{"prompt": "a strap", "num_images": 1}\n'
        )
        said = run("price", f"{tmp_path}/table.jsonl", "--num-images", "4", "-o", "json").json
        assert (said["credits"], said["assumed"]["num_images"]) == (50, 4)
        assert run("price", f"{tmp_path}/table.jsonl", "--num-images", "7").code == 2

    def test_a_template_with_a_date_and_params_is_no_reason_to_refuse_a_row(
        self, run: Run, tmp_path: Path
    ) -> None:
        (tmp_path / "table.csv").write_text("product\nwatch\n")
        template = (
            "a {{ product }} on {{ ds }} at {{ logical_date.hour }} of {{ dag_run.run_after | ds }} "
            "for {{ params.who }}"
        )
        call = ("price", f"{tmp_path}/table.csv", "--template", template, "-o", "json")
        said = run(*call, "--date", "2026-11-22", "--params", '{"who": "Ada"}')
        assert (said.code, said.json["assumed"]["date"]) == (0, "2026-11-22")
        assert run(*call, "--date", "yesterday").code == 2
        assert run(*call, "--params", "[]").code == 2

    def test_a_template_makes_the_prompts(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text("product\nwatch\n")
        assert run("price", f"{tmp_path}/table.csv", "--template", "a {{ product }}").code == 0
        assert run("price", f"{tmp_path}/table.csv", "--template", "a {{ colour }}").code == 2

    def test_a_column_that_is_missing_is_said_once(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text("product,image_size\n" + "watch,square\n" * 300)
        ended = run("price", f"{tmp_path}/table.csv")
        assert (ended.code, ended.out.count("prompt is missing")) == (2, 1)
        assert "The table has no column 'prompt'. Its columns: product, image_size." in ended.out

    def test_rows_with_the_same_fault_are_one_line(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text("prompt,num_images\na watch,7\na bag,1\na strap,7\n,1\n")
        ended = run("price", f"{tmp_path}/table.csv")
        faults = [line for line in ended.out.splitlines() if "of table.csv" in line]
        # how many, and the first
        assert [re.findall(r"\d+", line)[:2] for line in faults] == [["2", "2"], ["1", "5"]]

    def test_it_says_how_long_the_table_takes_at_the_keys_rate(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text("prompt\n" + "a watch\n" * 120)
        assert "about 40 min at 3 requests a minute" in run("price", f"{tmp_path}/table.csv").out
        faster = run("price", f"{tmp_path}/table.csv", "--requests-per-minute", "60")
        assert "about 2 min at 60 requests a minute" in faster.out
        assert run("price", f"{tmp_path}/table.csv", "--requests-per-minute", "0").code == 2

    def test_a_table_that_is_not_there_is_a_wrong_call(self, run: Run, tmp_path: Path) -> None:
        ended = run("price", f"{tmp_path}/table.csv")
        assert ended.code == 2
        assert "there is no file" in ended.err


class TestPlan:
    TABLE = "prompt,num_images\na watch,2\na strap,1\na watch,2\n,1\n"

    @pytest.fixture
    def table(self, tmp_path: Path) -> str:
        (tmp_path / "table.csv").write_text(self.TABLE)
        return f"{tmp_path}/table.csv"

    def test_a_new_run_pays_every_row_and_the_same_run_pays_the_rest(
        self, run: Run, buy: Buy, emulator: Emulator, table: str, destination: str
    ) -> None:
        buy("a watch", num_images=2)
        posts = emulator.books.posts_received
        new = run("plan", table, destination, "-o", "json").json
        assert {status: number for status, number in new["count"].items() if number} == {
            "pay": 2,
            "repeat": 1,
            "invalid": 1,
        }
        assert (new["requests"], new["images"], new["credits"], new["other_requests"]) == (2, 3, 30, 1)
        same = run("plan", table, destination, *IDS, "-o", "json")
        counted = {status: number for status, number in same.json["count"].items() if number}
        assert counted == {"pay": 1, "in_flight": 1, "repeat": 1, "invalid": 1}
        assert (same.json["credits"], same.json["minutes"], same.json["other_requests"]) == (10, 0.3, 0)
        assert same.code == 2  # a row is invalid
        assert emulator.books.posts_received == posts

    def test_people_read_what_a_run_sends_and_what_to_look_at(
        self, run: Run, lose: Callable[..., str], tmp_path: Path, destination: str
    ) -> None:
        lose()
        (tmp_path / "table.jsonl").write_text(
            '{"prompt": "a watch [drop-after-accept]"}\n{"prompt": "a strap"}\n'
        )
        said = run("plan", f"{tmp_path}/table.jsonl", destination, *IDS, "--requests-per-minute", "60")
        assert said.code == 0
        assert (
            "A run now sends 1 request for 1 image: up to 10 credits, about 0 min at 60 requests a minute."
            in said.out
        )
        assert "Perhaps paid: up to 10 credits." in said.out
        assert "line 1 of table.jsonl: unknown outcome, up to 10 credits; record file://" in said.out
        again = run(
            "plan",
            f"{tmp_path}/table.jsonl",
            destination,
            *IDS,
            "--on-unknown-submit",
            "resubmit",
            "-o",
            "json",
        ).json
        assert (again["count"]["pay_again"], again["requests"]) == (1, 2)

    def test_people_read_that_an_invalid_row_stops_the_run_and_which_values_were_assumed(
        self, run: Run, table: str, destination: str
    ) -> None:
        said = run("plan", table, destination, "--image-size", "square_hd")
        assert said.code == 2
        assert (
            'sends nothing, unless it has on_error="continue".\nSuch a run sends 2 requests for 3 images'
            in said.out
        )
        assert (
            "Assumed where a row has none, as the operator's own: num_images 1, image_size square_hd, take 1."
            in said.out
        )

    def test_a_budget_bounds_it(self, run: Run, table: str, destination: str) -> None:
        said = run("plan", table, destination, "--max-credits", "20", "-o", "json").json
        assert (said["count"]["pay"], said["count"]["over_budget"], said["credits"]) == (1, 1, 20)

    def test_a_name_of_another_request_is_refused(
        self, run: Run, buy: Buy, tmp_path: Path, destination: str
    ) -> None:
        buy("a watch", name="hero")
        (tmp_path / "table.jsonl").write_text('{"prompt": "a strap", "name": "hero"}\n')
        said = run("plan", f"{tmp_path}/table.jsonl", destination, "-o", "json")
        assert (said.code, said.json["count"]["name_taken"]) == (2, 1)
        assert said.json["notes"] == [
            f"line 1 of table.jsonl: name 'hero' belongs to another request in {destination}."
        ]

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--dag-id", "watches"], "--dag-id, --run-id and --task-id belong together"),
            (["--requests-per-minute", "0"], "--requests-per-minute must be above 0"),
            (["--requests-per-minute", "nan"], "--requests-per-minute must be above 0"),
            (["--credits-per-image", "-5"], "--credits-per-image must be above 0"),
            (["--max-credits", "-5"], "--max-credits must be an integer of credits, at least 0"),
            (["--num-images", "7"], "num_images must be an integer from 1 to 6"),
        ],
    )
    def test_a_wrong_call_is_refused(
        self, arguments: list[str], says: str, run: Run, table: str, destination: str
    ) -> None:
        ended = run("plan", table, destination, *arguments)
        assert (ended.code, says in ended.err) == (2, True)
