"""Caps of a connection: read strictly, by UTC day and month."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.settings import SeedreamSettings
from airflow_provider_seedream.model.caps import Cap
from tests.unit import api


def settings(**extra: Any) -> SeedreamSettings:
    return api.settings(extra_dejson=extra)


class TestReading:
    def test_a_connection_without_caps_has_none(self) -> None:
        assert (settings().caps, settings().books, settings().warn_at) == ((), None, 0.8)

    def test_caps_are_read_as_numbers_texts_and_json(self) -> None:
        label_caps = '{"team=shop": {"day": 5, "month": "90"}, "product=a=b": {"day": 0}}'
        read = settings(
            max_credits_per_day="20", max_credits_per_month=300.0, label_caps=label_caps, warn_at="0.5"
        )
        assert [cap.name for cap in read.caps] == [
            "max_credits_per_day=20",
            "max_credits_per_month=300",
            "label_caps team=shop day=5",
            "label_caps team=shop month=90",
            "label_caps product=a=b day=0",
        ]
        assert read.warn_at == 0.5

    @pytest.mark.parametrize(
        ("extra", "meant"),
        [
            ("max_credit_per_day", "max_credits_per_day"),
            ("max_credits_per_mouth", "max_credits_per_month"),
            ("max_credits", "max_credits_per_day"),
            ("Max_Credits_Per_Day", "max_credits_per_day"),
            ("label_cap", "label_caps"),
            ("book", "books"),
            ("credit_per_image", "credits_per_image"),
        ],
    )
    def test_a_misspelt_cap_or_price_is_refused_as_it_would_limit_nothing(
        self, extra: str, meant: str
    ) -> None:
        with pytest.raises(SeedreamInputError, match=f"Did you mean '{meant}'"):
            settings(**{extra: 10})

    def test_other_extras_are_none_of_our_business(self) -> None:
        assert settings(owner="me", hooks=1, per_day=3, timeout=7, labels="a", notebook="x").caps == ()

    def test_books_are_in_the_destination_unless_they_are_named(self) -> None:
        assert settings(destination="s3://a/b").books == "s3://a/b"
        assert settings(destination="s3://a/b", books="s3://c").books == "s3://c"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("max_credits_per_day", -1),
            ("max_credits_per_day", 1.5),
            ("max_credits_per_month", "many"),
            ("max_credits_per_month", True),
            ("label_caps", "team=shop"),
            ("label_caps", [1]),
            ("label_caps", {"team": {"day": 5}}),
            ("label_caps", {"team=shop": 5}),
            ("label_caps", {"team=shop": {}}),
            ("label_caps", {"team=shop": {"week": 5}}),
            ("label_caps", {"team=shop": {"day": -5}}),
            ("label_caps", {"te am=shop": {"day": 5}}),
            ("warn_at", 0),
            ("warn_at", 1.1),
            ("warn_at", "much"),
            ("warn_at", True),
        ],
        ids=str,
    )
    def test_a_wrong_value_is_refused_by_the_name_of_its_field(self, field: str, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match=field):
            settings(**{field: value})


@pytest.mark.parametrize(
    ("period", "at", "ends"),
    [
        ("day", "2026-11-29T23:59:59", "2026-11-30T00:00:00"),
        ("day", "2026-12-31T00:00:00", "2027-01-01T00:00:00"),
        ("month", "2026-11-30T12:00:00", "2026-12-01T00:00:00"),
        ("month", "2024-01-31T12:00:00", "2024-02-01T00:00:00"),
        ("month", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_a_period_ends_at_midnight_of_utc(period: Any, at: str, ends: str) -> None:
    def epoch(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert Cap(period=period, credits=1).ends_epoch(epoch(at)) == epoch(ends)
