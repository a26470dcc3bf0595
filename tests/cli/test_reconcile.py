"""The statement of a wallet, against the server's books: after each ending, with top-ups, other prices,
other users of the key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import LATE
from airflow_provider_seedream.model.commands import program
from airflow_provider_seedream.reconciliation import reconcile
from tests.cli.conftest import Buy, Ended, Run
from tests.unit.values import submission

Lose = Callable[..., str]
Check = Callable[..., Any]


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def changed(uri: str, **fields: object) -> None:
    path_of(uri).write_text(json.dumps(json.loads(path_of(uri).read_text()) | fields))


def aged(uri: str | None, **by: float) -> None:
    """Set all instants of a record back."""
    fields = json.loads(path_of(uri or "").read_text())
    instants = {name: at for name, at in fields.items() if name.endswith("_at") and at}
    earlier = {name: datetime.fromisoformat(at) - timedelta(**by) for name, at in instants.items()}
    changed(uri or "", **{name: at.isoformat().replace("+00:00", "Z") for name, at in earlier.items()})


@pytest.fixture
def check(run: Run, destination: str, emulator: Emulator) -> Check:
    """Runs the command and holds what it says to the server's wallet."""

    def check(*more: str, code: int = 0, unexplained: float = 0, of: str = destination) -> Any:
        ended = run("reconcile", of, *more, "-o", "json")
        assert ended.code == code, (ended.err, ended.out)
        said = ended.json
        top_ups = sum(one["credits"] for one in said["top_ups"]) + sum(said["stated_top_ups"])
        left = said["wallet"]["start"] + top_ups - said["charged"] + said["refunded"] - said["unexplained"]
        assert left == said["wallet"]["end"] == emulator.balance_credits
        assert said["unexplained"] == unexplained, said
        assert said["adds_up"] == (unexplained == 0)
        for name in ("charged", "refunded", "at_risk"):
            assert (
                sum(row[name] for row in said["rows"])
                == sum(row[name] for row in said["totals"])
                == said[name]
            )
        return said

    return check


def endings(said: Any) -> dict[str, tuple[int, int, int]]:
    return {row["ending"]: (row["requests"], row["charged"], row["refunded"]) for row in said["totals"]}


class TestEachEnding:
    @pytest.mark.parametrize(
        "price", [pytest.param(10, id="price 10", marks=pytest.mark.slow), pytest.param(30, id="price 30")]
    )
    def test_every_credit_has_its_line_and_the_books_agree(
        self,
        price: int,
        run: Run,
        buy: Buy,
        check: Check,
        destination: str,
        emulator: Emulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The price is not the one that the connection says: the wallet tells it."""
        emulator.configure(credits_per_image=price)
        landed = buy("a landed watch", num_images=2, name="hero")
        partial = buy("a partial watch [partial:1]", num_images=2)
        failed, moderated = buy("a failed watch [fail]"), buy("a moderated watch [safety]", run_id="tuesday")
        for one in (landed, partial, failed, moderated):
            run("land", one.seedream_task_id, destination, "--timeout", "0")
        changed(partial.record or "", outcome="partial")
        expired = buy("an expired watch").record or ""
        changed(expired, outcome="expired")
        buy("a watch in flight [never-ends]")
        said = check()
        assert endings(said) == {
            "landed": (1, 2 * price, 0),
            "partial": (1, 2 * price, 0),
            "in_flight": (1, price, 0),
            "expired": (1, price, 0),
            "refunded": (1, price, price),
            "moderated": (1, price, price),
        }
        assert (said["charged"], said["refunded"]) == (
            emulator.books.credits_charged,
            emulator.books.credits_refunded,
        )
        [duty] = said["duties"]
        assert duty["what"].startswith(
            "Clear task submit in run monday of DAG watches if its 1 failed and refunded request"
        )
        assert duty["is_due"] is False

    def test_a_generation_that_failed_unseen_was_refunded_by_the_apis_word(
        self, buy: Buy, check: Check, emulator: Emulator
    ) -> None:
        buy("a watch [fail]")
        assert endings(check()) == {"refunded": (1, 10, 10)}
        assert emulator.books.posts_received == 1

    def test_images_that_no_task_lands_any_more_are_to_be_landed_before_their_end(
        self, run: Run, buy: Buy, check: Check, destination: str
    ) -> None:
        bought = buy("a watch", name="hero")
        aged(bought.record, minutes=20)
        [duty] = check(code=1)["duties"]
        assert duty["command"] == f"{program()} land {bought.seedream_task_id} {destination}"
        assert duty["before"] > datetime.now().isoformat()
        assert run(*duty["command"].removeprefix(program()).split()).code == 0
        assert endings(check()) == {"landed": (1, 10, 0)}

    def test_a_command_to_copy_names_the_connection_that_was_asked(
        self, buy: Buy, check: Check, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"])
        aged(buy("a watch").record, minutes=20)
        [duty] = check("--conn-id", "other", code=1)["duties"]
        assert duty["command"].endswith(" --conn-id other")

    def test_images_that_landed_before_the_record_could_say_so_have_landed(
        self, run: Run, buy: Buy, check: Check, destination: str
    ) -> None:
        bought = buy("a watch")
        run("land", bought.seedream_task_id, destination)
        changed(bought.record or "", outcome="submitted")
        aged(bought.record, minutes=20)
        assert endings(check()) == {"landed": (1, 10, 0)}

    @pytest.mark.parametrize(
        ("trouble", "unexplained"), [("[drop-after-accept]", 10), ("[drop*1]", 0)], ids=["paid", "not paid"]
    )
    def test_an_unknown_outcome_is_at_risk_and_the_wallet_tells_whether_it_may_be_the_rest(
        self, trouble: str, unexplained: int, buy: Buy, lose: Lose, check: Check
    ) -> None:
        buy("a landed watch")
        record = lose(trouble)
        aged(record, minutes=5)
        said = check(code=1, unexplained=unexplained)
        assert (said["at_risk"], endings(said)["unknown"]) == (10, (1, 0, 0))
        assert [one["fits"] for one in said["candidates"]][:1] == ([True] if unexplained else [])
        assert any(record in (duty["command"] or "") for duty in said["duties"])

    def test_a_post_under_way_is_no_duty_yet(self, lose: Lose, check: Check) -> None:
        changed(lose("[drop*1]"), outcome="intent")
        said = check()
        assert (endings(said), said["duties"]) == ({"sending": (1, 0, 0)}, [])

    def test_a_second_payment_beside_a_record_has_its_line_and_its_duty(
        self, run: Run, buy: Buy, check: Check, destination: str, emulator: Emulator
    ) -> None:
        first, second = buy("a watch", name="hero"), buy("another watch")
        (path_of(destination) / LATE).mkdir()
        fields = json.loads(path_of(first.record or "").read_text()) | {
            "claim": "late",
            "seedream_task_id": second.seedream_task_id,
        }
        (path_of(destination) / LATE / f"{fields['key']}.1.late.json").write_text(json.dumps(fields))
        path_of(second.record or "").unlink()
        said = check(code=1)
        assert said["charged"] == emulator.books.credits_charged == 20
        [duty] = said["duties"]
        assert "a second payment" in duty["what"]
        assert run(*duty["command"].removeprefix(program()).split()).code == 0
        check()

    def test_an_id_that_the_account_does_not_know_is_said(self, buy: Buy, check: Check) -> None:
        changed(buy().record or "", seedream_task_id="0b8c1f0e-5a63-4b0e-9b0c-2f6f3a1d7c11")
        said = check(code=1)
        assert list(endings(said)) == ["missing"]


class TestCreditsFromOutside:
    def spend(self, prompt: str = "a stranger's watch", **more: Any) -> None:
        """As another program with the same key."""
        SeedreamHook(max_attempts=1).submit(submission(prompt=prompt, **more))

    def test_another_user_of_the_key_is_exactly_the_unexplained(self, buy: Buy, check: Check) -> None:
        buy("a watch")
        self.spend(num_images=3)
        buy("another watch")
        said = check(code=1, unexplained=30)
        assert any(
            "Other users of this key" in one["what"] and "30 between" in one["what"]
            for one in said["candidates"]
        )

    def test_top_ups_show_where_the_balance_rises(self, buy: Buy, check: Check, emulator: Emulator) -> None:
        aged(buy("a watch").record, minutes=2)
        emulator.configure(balance_credits=emulator.balance_credits + 500)
        buy("another watch")
        emulator.configure(balance_credits=emulator.balance_credits + 70)
        assert [one["credits"] for one in check()["top_ups"]] == [500, 70]

    def test_a_top_up_that_does_not_show_is_stated_by_a_person(
        self, run: Run, buy: Buy, check: Check, emulator: Emulator, destination: str
    ) -> None:
        """It is smaller than what the requests have cost in the meantime."""
        aged(buy("a watch", num_images=4).record, minutes=2)
        emulator.configure(balance_credits=emulator.balance_credits + 30)
        buy("another watch")
        hidden = check(code=1, unexplained=-30)
        assert any("--topped-up" in one["what"] for one in hidden["candidates"])
        said = check("--topped-up", "30")
        assert (said["stated_top_ups"], said["top_ups"]) == ([30], [])
        assert "topped up, as stated" in run("reconcile", destination, "--topped-up", "30").out
        check("--topped-up", "10", "--topped-up", "20")
        assert reconcile(destination, topped_up=[30]).adds_up

    @pytest.mark.parametrize(
        "stated", [[500], [500, 30], [30]], ids=["the one that shows", "both", "the hidden one"]
    )
    def test_a_stated_top_up_that_shows_as_well_counts_once(
        self, stated: list[int], buy: Buy, check: Check, emulator: Emulator
    ) -> None:
        aged(buy("a watch", num_images=4).record, minutes=4)
        emulator.configure(balance_credits=emulator.balance_credits + 500)
        aged(buy("another watch", num_images=4).record, minutes=2)
        hidden = 30 if 30 in stated else 0
        emulator.configure(balance_credits=emulator.balance_credits + hidden)
        buy("a third watch")
        said = check(*(word for one in stated for word in ("--topped-up", str(one))))
        assert sum(one["credits"] for one in said["top_ups"]) == (0 if 500 in stated else 500)

    def test_a_stated_top_up_that_has_not_come_is_unexplained_and_named(self, buy: Buy, check: Check) -> None:
        buy("a watch")
        said = check("--topped-up", "500", code=1, unexplained=500)
        assert [one["what"][:27] for one in said["candidates"] if one["fits"]] == [
            "A top-up that was stated ca"
        ]

    @pytest.mark.parametrize("wrong", ["0", "-5"])
    def test_a_top_up_is_a_whole_number_above_0(
        self, wrong: str, run: Run, buy: Buy, destination: str
    ) -> None:
        buy("a watch")
        ended = run("reconcile", destination, f"--topped-up={wrong}")
        assert (ended.code, "whole credits above 0" in ended.err) == (2, True)

    def test_a_top_up_and_another_user_are_told_apart(
        self, buy: Buy, check: Check, emulator: Emulator
    ) -> None:
        aged(buy("a watch").record, minutes=2)
        emulator.configure(balance_credits=emulator.balance_credits + 500)
        buy("another watch [fail]")
        self.spend()
        said = check(code=1, unexplained=10)
        assert [one["credits"] for one in said["top_ups"]] == [500]

    def test_a_refund_is_no_top_up(self, buy: Buy, check: Check, emulator: Emulator) -> None:
        for number in range(4):
            buy(f"watch {number} [fail]", num_images=2)
            assert emulator.books.credits_refunded == 20 * (number + 1)  # the wallet rises between two looks
        assert check()["top_ups"] == []

    def test_a_price_that_was_not_measured_is_a_candidate_that_fits(
        self, buy: Buy, check: Check, destination: str, emulator: Emulator
    ) -> None:
        emulator.configure(credits_per_image=12)
        for number in range(2):
            buy(f"watch {number}", num_images=2)
        for file in path_of(destination).glob("_seedream/ledger/*.json"):
            changed(str(file), billed_credits=None)
        said = check(code=1, unexplained=8)
        assert [one["what"] for one in said["candidates"] if one["fits"]] == [
            "The price: 4 images were counted at 10 credits each, and 12 each would explain it"
        ]


class TestThePeriod:
    def test_it_begins_with_the_first_request_since_then(
        self, buy: Buy, check: Check, emulator: Emulator
    ) -> None:
        aged(buy("of the day before").record, days=1)
        TestCreditsFromOutside().spend()  # between the two: before the statement begins
        buy("of the night")
        said = check("--since", (datetime.now() - timedelta(hours=2)).isoformat())
        assert (said["earlier_requests"], said["charged"], said["wallet"]["start"]) == (1, 10, 99_980)
        check(code=1, unexplained=10)

    def test_without_a_balance_at_the_start_nothing_can_be_explained(
        self, run: Run, buy: Buy, destination: str
    ) -> None:
        changed(buy().record or "", wallet_balance=None)
        ended = run("reconcile", destination, "-o", "json")
        assert (ended.code, ended.json["unexplained"], ended.json["charged"]) == (1, None, 10)
        assert "Unexplained: not known" in run("reconcile", destination).out

    def test_a_period_without_requests_adds_up(self, run: Run, buy: Buy, destination: str) -> None:
        buy()
        ended = run("reconcile", destination, "--since", "2999-01-01")
        assert (ended.code, "nothing to explain" in ended.out) == (0, True)

    def test_several_folders_are_one_statement_and_one_that_is_left_out_is_unexplained(
        self, run: Run, buy: Buy, check: Check, destination: str, tmp_path: Path
    ) -> None:
        buy("a watch")
        path_of(destination).rename(tmp_path / "first")
        buy("a shoe", num_images=2)
        both = run("reconcile", f"file://{tmp_path}/first", destination, "-o", "json").json
        assert (both["charged"], both["unexplained"]) == (30, 0)
        check(code=1, unexplained=20, of=f"file://{tmp_path}/first")

    def test_the_connections_folder_is_the_default(
        self, run: Run, buy: Buy, destination: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        buy()
        assert run("reconcile").code == 2
        connection = {**json.loads(emulator.airflow_connection_json()), "extra": {"destination": destination}}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        assert run("reconcile").code == 0


class TestAWalletThatMoves:
    def test_a_request_that_is_sent_while_the_ledgers_are_read_is_read_as_well(
        self, buy: Buy, destination: str, emulator: Emulator
    ) -> None:
        buy("a watch")
        prompts = ["one more"]

        def meanwhile(files: list[str]) -> list[str]:
            if prompts:
                buy(prompts.pop(), num_images=2)
            return files

        statement = reconcile(destination, tracked=meanwhile)
        assert (statement.charged, statement.unexplained, statement.adds_up) == (30, 0, True)
        assert statement.end == emulator.balance_credits

    def test_one_that_never_rests_is_said_and_does_not_add_up(self, buy: Buy, destination: str) -> None:
        buy("a watch")

        def meanwhile(files: list[str]) -> list[str]:
            TestCreditsFromOutside().spend()
            return files

        statement = reconcile(destination, tracked=meanwhile)
        assert (statement.is_moving, statement.adds_up, statement.unexplained) == (True, False, 30)
        assert "run this again when they have ended" in statement.text

    def test_a_generation_about_which_the_api_does_not_answer_is_an_error_and_no_guess(
        self, run: Run, buy: Buy, destination: str, emulator: Emulator
    ) -> None:
        buy("a watch [fail]")
        emulator.inject("refuse", endpoint="status", status=403)
        ended = run("reconcile", destination)
        assert (ended.code, ended.out) == (1, "")
        assert "403" in ended.err


class TestTheTables:
    @pytest.fixture
    def mixed(self, run: Run, buy: Buy, destination: str) -> Ended:
        bought = buy("a watch", num_images=2, name="hero")
        run("land", bought.seedream_task_id, destination)
        partial = buy("a strap [partial:2]", num_images=3)
        run("land", partial.seedream_task_id, destination, "--timeout", "0")
        changed(partial.record or "", outcome="partial")
        return run("reconcile", destination)

    def test_people_see_a_column_that_adds_up_with_the_unexplained_at_the_bottom(self, mixed: Ended) -> None:
        assert mixed.code == 0
        lines = mixed.out.splitlines()
        assert lines[-1] == "Unexplained: 0 credits."
        assert [line.split()[-1] for line in lines[-6:-1]] == ["100000", "-50", "0", "0", "99950"]

    def test_the_credits_add_up_on_every_level(self, mixed: Ended, check: Check) -> None:
        for level, lines in {"dag": 2, "run": 2, "task": 2, "row": 2, "image": 5}.items():
            said = check("--by", level)
            assert len(said["rows"]) == lines
        names = [Path(row["image"] or "").name for row in said["rows"]]
        assert sorted(name.rpartition("_")[2] for name in names) == ["", "1.png", "1.png", "2.png", "2.png"]
        assert [row["charged"] for row in said["rows"]] == [10] * 5

    def test_a_file_that_cannot_be_read_is_a_duty(self, run: Run, buy: Buy, destination: str) -> None:
        hidden = buy().record or ""
        buy("another")
        path_of(hidden).write_text("{")
        ended = run("reconcile", destination)
        assert ended.code == 1
        assert f"Look at {hidden}" in ended.out
