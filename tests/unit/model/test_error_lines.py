"""The block of short lines that an error becomes in the log."""

from __future__ import annotations

import inspect

import pytest

from airflow_provider_seedream import exceptions
from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamAuthenticationError,
    SeedreamError,
    SeedreamLandingError,
)
from airflow_provider_seedream.model.balances import what_follows
from airflow_provider_seedream.model.clock import to_epoch
from airflow_provider_seedream.model.close_matches import did_you_mean
from airflow_provider_seedream.model.error_lines import MAX_LINE_CHARACTERS, Where, error_lines, short_record
from airflow_provider_seedream.model.verdicts import VERDICTS, anchor

WHERE = Where(conn_id="seedream_default", host="https://api.3daistudio.com")
NOW = to_epoch("2026-11-28T17:30:00Z") or 0.0
RECORD = f"s3://aws@bucket/campaign/_seedream/ledger/{'3f2a9c1b' * 8}.json"
CLASSES = [
    cls for _, cls in inspect.getmembers(exceptions, inspect.isclass) if issubclass(cls, SeedreamError)
]


def lines_of(error: SeedreamError) -> list[str]:
    return error_lines(error, WHERE, now_epoch=NOW)


class TestTheBlock:
    def test_an_unknown_outcome_says_cost_remedy_record_and_connection_in_this_order(self) -> None:
        error = SeedreamAmbiguousSubmissionError(
            "The request left, no answer came.", record=RECORD, cause="ReadTimeout: slow"
        )
        error.credits, error.wallet = 10, what_follows("5000.00", "4990.00", 10)
        error.commands = ["airflow seedream resolve s3://aws@bucket/campaign 3f2a9c1b --not-paid"]
        lines = lines_of(error)
        assert lines[0] == "UNKNOWN OUTCOME, up to 10 credits at risk: The request left, no answer came."
        assert [line.split(":")[0] for line in lines[1:] if not line.startswith("  ")] == [
            "Cost",
            "Wallet",
            "Do",
            "Record",
            "Connection",
            "Cause",
            "Help",
        ]
        assert "  airflow seedream resolve s3://aws@bucket/campaign 3f2a9c1b --not-paid" in lines
        assert "Record: s3://aws@bucket/campaign 3f2a9c1b" in lines
        assert lines[-1] == "Help: troubleshooting.md#unknown-outcome"

    @pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
    def test_no_line_of_any_error_is_longer_than_the_log_page_shows(self, cls: type[SeedreamError]) -> None:
        error = cls("The proxy let nothing through, for it wants a user and a password. " * 9)
        error.cause, error.credits, error.kept_until = (
            "urllib3.exceptions.MaxRetryError: words " * 30,
            10,
            "2026-11-29T16:48:00Z",
        )
        error.record, error.seedream_task_id = RECORD, "b1c2d3"
        lines = lines_of(error)
        assert max(map(len, lines)) <= MAX_LINE_CHARACTERS
        assert lines[0].startswith(cls.verdict)

    def test_a_paid_generation_says_until_when_its_images_are_kept_and_how_long_that_is(self) -> None:
        error = SeedreamLandingError("Image 2 could not be stored.", seedream_task_id="b1c2d3")
        error.credits, error.kept_until = 20, "2026-11-29T16:48:00Z"
        lines = lines_of(error)
        assert lines[:2] == [
            "IMAGES NOT LANDED, 20 credits paid: Image 2 could not be stored.",
            "Cost: 20 credits, paid once.",
        ]
        assert "Until: 2026-11-29 16:48 UTC (23 h left); then the API deletes the images." in lines

    def test_quoted_and_billed_are_named_where_they_differ(self) -> None:
        error = SeedreamLandingError("x")
        error.credits, error.billed_credits = 10, 30
        assert lines_of(error)[:2] == [
            "IMAGES NOT LANDED, 30 credits paid: x",
            "Cost: 30 credits billed, 10 quoted, paid once.",
        ]

    def test_an_error_of_a_dag_file_says_nothing_about_payment(self) -> None:
        error = exceptions.SeedreamInputError("x")
        error.is_at_parse = True
        assert "aid" not in str(error) and "retry" not in str(error)


class TestVerdicts:
    @pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
    def test_every_class_has_a_verdict_of_the_list(self, cls: type[SeedreamError]) -> None:
        assert cls.verdict in VERDICTS or cls is SeedreamError

    def test_the_text_begins_with_it_and_ends_with_the_cause(self) -> None:
        text = str(SeedreamAuthenticationError("The API refuses the key.", status_code=401))
        assert text.startswith("KEY REFUSED: ")
        error = SeedreamAmbiguousSubmissionError("No answer.", record=RECORD, cause="ReadTimeout: slow")
        assert str(error).endswith("Cause: ReadTimeout: slow.")

    def test_an_anchor_is_what_a_heading_becomes(self) -> None:
        assert anchor("NO TOP-UP IN TIME") == "troubleshooting.md#no-top-up-in-time"


class TestWords:
    @pytest.mark.parametrize(
        ("before", "now", "says"),
        [
            ("5000.00", "4990.00", "10 less, so it was probably paid"),
            ("5000.00", "5000.00", "probably not paid"),
            ("5000.00", "4960.00", "does not tell"),
            ("5000.00", "5100.00", "does not tell"),
            ("5000.00", None, "cannot be read now"),
        ],
    )
    def test_what_the_wallet_says_is_never_certain(self, before: str, now: str | None, says: str) -> None:
        assert says in (what_follows(before, now, 10) or "")

    def test_without_a_balance_of_before_nothing_is_said(self) -> None:
        assert what_follows(None, "4990.00", 10) is None

    @pytest.mark.parametrize(
        ("value", "meant"), [("landscape_16:9", "landscape_16_9"), ("AUTO_2k", "auto_2K")]
    )
    def test_a_misspelt_value_finds_its_close_match(self, value: str, meant: str) -> None:
        assert did_you_mean(value, ("auto_2K", "landscape_16_9")) == f" Did you mean {meant!r}?"

    @pytest.mark.parametrize("value", ["tall", 7, None])
    def test_nothing_is_guessed_where_nothing_is_close(self, value: object) -> None:
        assert did_you_mean(value, ("auto_2K", "landscape_16_9")) == ""

    def test_a_record_of_a_later_attempt_keeps_its_number(self) -> None:
        assert short_record(RECORD.replace(".json", ".2.json")) == "s3://aws@bucket/campaign 3f2a9c1b.2"
