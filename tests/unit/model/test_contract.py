"""The API's facts: ids that are safe in paths, and words of the safety checker."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.model import contract
from tests.unit.values import TASK_ID


class TestTaskIds:
    @pytest.mark.parametrize("value", [TASK_ID, "abc", "A_1-b", "x" * 128])
    def test_a_token_that_is_safe_in_paths_is_an_id(self, value: str) -> None:
        assert contract.is_seedream_task_id(value)

    @pytest.mark.parametrize(
        "value",
        [
            "",
            None,
            7,
            "../wallet",
            "a/b",
            "a b",
            "a?b",
            "a.json",
            "-x",
            "x" * 129,
            "a\n",
            "{{ x }}",
            ["a"],
            {"a": 1},
            b"a",
            "ä",
        ],
    )
    def test_anything_else_is_none(self, value: Any) -> None:
        assert not contract.is_seedream_task_id(value)


class TestModeration:
    @pytest.mark.parametrize(
        "text",
        [
            "Rejected by the safety checker",
            "NSFW content",
            "content_policy_violation",
            "Content policies",
            "moderation failed",
        ],
    )
    def test_the_words_of_the_safety_checker_are_known(self, text: str) -> None:
        assert contract.is_moderation(text)

    @pytest.mark.parametrize(
        "text",
        [
            None,
            "",
            "The model is tired",
            "upstream timeout",
            "internal error",
            "enable_safety_checker: not a boolean",
            "image_size is case-sensitive",
        ],
    )
    def test_other_failures_are_not_moderation(self, text: str | None) -> None:
        assert not contract.is_moderation(text)


class TestPaths:
    def test_every_path_ends_with_a_slash(self) -> None:
        paths = [*contract.SUBMIT_PATHS.values(), contract.STATUS_PATH, contract.WALLET_PATH]
        assert all(path.startswith("/") and path.endswith("/") for path in paths)
