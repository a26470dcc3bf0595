"""The list of verdicts and the documentation name the same ones."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_provider_seedream.model.verdicts import HELP_PAGE, VERDICTS

PAGE = Path(__file__).parents[3] / "docs" / HELP_PAGE


def test_every_verdict_is_a_heading_of_the_page_that_the_log_names() -> None:
    headings = set(re.findall(r"^### (.+)$", PAGE.read_text(), re.MULTILINE))
    assert set(VERDICTS) <= headings
    assert {heading for heading in headings if heading.isupper()} <= set(VERDICTS)
