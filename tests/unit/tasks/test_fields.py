"""The rules of fields that every paying task has."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.tasks.fields import check_budget


class TestABudget:
    @pytest.mark.parametrize(("value", "credits"), [(None, None), (0, 0), ("0", 0), (" 100 ", 100), (7, 7)])
    def test_a_budget_is_an_integer_of_credits_or_none(self, value: Any, credits: int | None) -> None:
        assert check_budget("max_credits", value) == credits

    @pytest.mark.parametrize("value", ["", "None", -1, "-1", "ten", 10.0, "10.5", True, [100], "1e3"])
    def test_any_other_budget_is_refused_by_its_name(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="max_credits_per_run must be an integer"):
            check_budget("max_credits_per_run", value)
