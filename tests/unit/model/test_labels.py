"""Labels: short plain texts, checked before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.labels import MAX_LABELS, check_labels, spelled


class TestLabels:
    def test_are_sorted_and_composed(self) -> None:
        labels = check_labels({"team": "cafe\u0301", "product": 7, "a.b-c_D": "x y=z"})
        assert list((labels or {}).items()) == [("a.b-c_D", "x y=z"), ("product", "7"), ("team", "caf\u00e9")]
        assert spelled(labels) == ("a.b-c_D=x y=z", "product=7", "team=caf\u00e9")

    @pytest.mark.parametrize("value", [None, {}])
    def test_may_be_none(self, value: Any) -> None:
        assert check_labels(value) is None
        assert spelled(None) == ()

    @pytest.mark.parametrize(
        "value",
        [
            "team=shop",
            ["team"],
            {"team": ""},
            {"team": " shop"},
            {"team": "a\nb"},
            {"team": "x" * 64},
            {"team": None},
            {"team": "None"},
            {"team": True},
            {"team": ["shop"]},
            {"": "shop"},
            {"a=b": "shop"},
            {"team ": "shop"},
            {"x" * 64: "shop"},
            {7: "shop"},
            {str(number): "x" for number in range(MAX_LABELS + 1)},
        ],
        ids=str,
    )
    def test_that_are_not_short_plain_texts_are_refused_by_name(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="labels"):
            check_labels(value)
