"""The progress of a batch in the user's storage, where others may delete it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_seedream.batch.progress_file import read_progress
from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.storage.folder import Folder


@pytest.mark.parametrize(
    ("content", "why"), [(None, "it was deleted"), (b"{}", "no progress of schema version 1")]
)
def test_a_file_that_is_gone_or_is_another_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    folder = Folder(str(tmp_path))
    if content is not None:
        folder.replace("progress.json", content)
    with pytest.raises(
        SeedreamLedgerError, match=rf"Cannot read {folder.uri('progress.json')} \(.*{why}\)"
    ) as failed:
        read_progress(folder, "progress.json")
    assert failed.value.paid == "yes"
