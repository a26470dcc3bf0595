"""Text on an image: a font that has the glyphs, words wrapped and sized so that they fit a box.

Uses Pillow's own font for Latin text, and a font of the system for what that one lacks, if there is one;
never fails for want of a glyph.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from airflow_provider_seedream.emulator.pillow import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "wqy-microhei.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
)
_NO_SUCH_CHARACTER = "\U0010fffe"
_MOST_CHARACTERS = 1500  # more would not be readable on any size
_LINE_HEIGHT = 1.28


@dataclass(frozen=True, slots=True, kw_only=True)
class Lettering:
    """Lines that fit into a box, and the font they fit in::

        fit("a leather watch", width=300, height=60, largest=40, smallest=12).lines

    :param line_height: pixels from one line to the next.
    :param lines: wrapped to the width of the box.
    :param font: the one that has the most glyphs of the text, at the size that fits.
    """

    lines: tuple[str, ...]
    font: Font
    line_height: float

    @property
    def height(self) -> float:
        """Pixels of all lines together."""
        return self.line_height * len(self.lines)


def fit(text: str, width: float, height: float, largest: float, smallest: float) -> Lettering:
    """The text as large as the box allows; cut with an ellipsis when even the smallest size is too large.

    :param width: of the box in pixels; a word that is wider is broken.
    :param height: of the box in pixels.
    :param largest: the size of the letters to begin with, in pixels.
    :param smallest: the size at which the text is cut instead of made smaller.
    """
    words = readable(text)
    size = largest
    while True:
        font = font_for(words, size)
        lines = chain.from_iterable(_wrapped(paragraph, font, width) for paragraph in words.split("\n"))
        lettering = Lettering(lines=tuple(lines), font=font, line_height=size * _LINE_HEIGHT)
        if lettering.height <= height or size <= smallest:
            # The first lines that fit the height, the last of them with an ellipsis.
            room = max(1, int(height / lettering.line_height))
            if len(lettering.lines) <= room:
                return lettering
            kept = (*lettering.lines[: room - 1], lettering.lines[room - 1][:-1] + "…")
            return Lettering(lines=kept, font=lettering.font, line_height=lettering.line_height)
        # Some 9 steps from the largest size to a third of it: each step draws nothing, it only measures.
        size = max(smallest, size * 0.88)


def readable(text: str) -> str:
    """The text without control characters, and at most 1,500 characters of it."""
    shown = "".join(
        " " if unicodedata.category(mark) in ("Cc", "Cf", "Cs") and mark != "\n" else mark for mark in text
    )
    return shown if len(shown) <= _MOST_CHARACTERS else shown[:_MOST_CHARACTERS] + "…"


def font_for(text: str, size: float) -> Font:
    """The font that lacks the fewest glyphs of the text; Pillow's own where it lacks none.

    :param size: of the letters in pixels, at least 1.
    """
    needed = set(text) - {"\n", " "}
    return min(_candidates(max(1.0, round(size, 1))), key=lambda font: _missing(font, needed))


@lru_cache(maxsize=64)
def _candidates(size: float) -> tuple[Font, ...]:
    """Pillow's own font first, then those of the system that are installed. Cached, as opening a font
    reads a file.
    """
    found: list[Font] = [ImageFont.load_default(size)]
    for name in _SYSTEM_FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:  # not on this machine
            continue
    return tuple(found)


def _missing(font: Font, characters: set[str]) -> int:
    """How many of the characters the font draws as the box that stands for an unknown one."""
    box = _shape(font, _NO_SUCH_CHARACTER)
    return sum(1 for character in characters if _shape(font, character) == box)


@lru_cache(maxsize=4096)
def _shape(font: Font, character: str) -> bytes:
    """The pixels of one character, to be compared: Pillow does not say whether a font has a glyph."""
    return bytes(font.getmask(character))


def _wrapped(paragraph: str, font: Font, width: float) -> list[str]:
    """One paragraph as lines that fit the width."""
    lines = [""]
    for word in chain.from_iterable(_pieces(word, font, width) for word in paragraph.split()):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _pieces(word: str, font: Font, width: float) -> Sequence[str]:
    """A word too wide for a line, broken where it must be: languages without spaces, or a URL.

    :returns: the word itself if it fits, else pieces of it, each at least one character.
    """
    if font.getlength(word) <= width:
        return (word,)
    pieces = [""]
    for character in word:
        if pieces[-1] and font.getlength(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces
