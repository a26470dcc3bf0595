"""The options of a wait that users set."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.tasks.wait_options import check_embed_metadata, check_max_posts_at_once


class TestSayingInsideTheImagesThatAIMadeThem:
    @pytest.mark.parametrize("value", [True, False])
    def test_embed_metadata_is_a_boolean(self, value: bool) -> None:
        assert check_embed_metadata(value) is value

    @pytest.mark.parametrize("value", ["yes", 1, None])
    def test_anything_but_a_boolean_is_refused(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="embed_metadata must be True or False"):
            check_embed_metadata(value)

    def test_a_worker_without_the_library_says_so_before_anything_is_sent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_seedream.tasks.wait_options.find_spec", lambda name: None)
        with pytest.raises(SeedreamInputError, match=r"airflow-provider-seedream\[metadata\]"):
            check_embed_metadata(True)


class TestThePostsAtOnceOfABatch:
    @pytest.mark.parametrize("value", [None, 1, 8, 16])
    def test_none_and_1_to_16_are_taken(self, value: int | None) -> None:
        assert check_max_posts_at_once(value) == value

    @pytest.mark.parametrize("value", [0, 17, -1, True, 2.0, "4"])
    def test_anything_else_is_refused_by_its_name(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="max_posts_at_once must be an integer from 1 to 16"):
            check_max_posts_at_once(value)
