"""The built pages: signatures with real values, tables that fit a narrow screen, words that the search
knows.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="`make docs` installs it; .ci/run runs this after that")
CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    subprocess.run(command, cwd=CHECKOUT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    return folder


def signature(site: Path, name: str) -> str:
    """The text of one signature of the API reference."""
    shown = re.findall(
        r'<div class="doc-signature highlight">(.*?)</div>', (site / "api.html").read_text(), re.DOTALL
    )
    texts = [html.unescape(re.sub("<[^>]+>", "", one)).strip() for one in shown]
    [found] = [text for text in texts if text.startswith(f"{name}(")]
    return found


class TestTheApiReference:
    @pytest.mark.parametrize("name", ["SeedreamGenerateOperator", "SeedreamEditOperator"])
    def test_a_signature_has_a_line_for_each_parameter_and_the_values_of_its_defaults(
        self, name: str, site: Path
    ) -> None:
        lines = signature(site, name).splitlines()
        for expected in (
            'image_size: ImageSize | str = "auto_2K",',
            "timeout: timedelta | float = 3600.0,",
            "deferrable: bool = False,",
        ):
            assert f"    {expected}" in lines

    def test_no_default_is_the_name_of_a_constant(self, site: Path) -> None:
        shown = re.findall(
            r'<div class="doc-signature highlight">(.*?)</div>', (site / "api.html").read_text(), re.DOTALL
        )
        for one in shown:
            assert not re.search(r"= (\w+\.)?[A-Z]+_[A-Z_]+\b", html.unescape(re.sub("<[^>]+>", "", one)))


class TestNarrowScreens:
    def test_each_cell_but_the_first_says_the_heading_of_its_column(self, site: Path) -> None:
        [row] = re.findall(
            r"<tr>(?:(?!</tr>).)*<code>password</code>.*?</tr>",
            (site / "connection.html").read_text(),
            re.DOTALL,
        )
        assert re.findall(r'<td data-label="([^"]*)"', row) == ["", "in the form", "default", "meaning"]


class TestSearch:
    """The words that people type, in the index that the built pages search. Each entry is a section of a
    page.
    """

    @pytest.mark.parametrize(
        "words", ["duplicate", "typo", "docker", "bucket does not exist", "unknown outcome", "429", "wallet"]
    )
    def test_the_words_of_a_symptom_lead_to_troubleshooting(self, words: str, site: Path) -> None:
        index = json.loads((site / "search" / "search_index.json").read_text())
        found = [
            entry["location"]
            for entry in index["docs"]
            if all(
                word in re.findall(r"\w+", f"{entry['title']} {entry['text']}".lower())
                for word in words.split()
            )
        ]
        assert any(location.startswith("troubleshooting.html#") for location in found)
