"""The options of a wait that users set."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.tasks.wait_options import check_embed_metadata


class TestSayingInsideTheImagesThatAIMadeThem:
    @pytest.mark.parametrize("value", [True, False])
    def test_embed_metadata_is_a_boolean(self, value: bool) -> None:
        assert check_embed_metadata(value) is value

    @pytest.mark.parametrize("value", ["yes", 1, None])
    def test_anything_but_a_boolean_is_refused(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="embed_metadata must be True or False"):
            check_embed_metadata(value)

    def test_a_worker_without_the_library_says_so_before_anything_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("airflow_provider_seedream.tasks.wait_options.find_spec", lambda name: None)
        with pytest.raises(SeedreamInputError, match=r"airflow-provider-seedream\[metadata\]"):
            check_embed_metadata(True)
