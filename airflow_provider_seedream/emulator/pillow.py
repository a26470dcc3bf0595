"""Pillow, or an error that says which extra brings it. The only door through which the emulator imports
it.
"""

from __future__ import annotations

try:
    from PIL import Image, ImageDraw, ImageFont
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "the Seedream emulator draws its images with Pillow: pip install "
        "'airflow-provider-seedream[emulator]'"
    ) from missing

__all__ = ["Image", "ImageDraw", "ImageFont"]
