"""Drawn images by generation and index: drawn when first asked for, off the event loop, kept within a memory
bound.

Two requests for one image draw it once. Lives on the server's event loop only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from airflow_provider_seedream.emulator import facts
from airflow_provider_seedream.emulator.generations import Generation
from airflow_provider_seedream.emulator.links import ObjectName
from airflow_provider_seedream.emulator.render import ImageFormat, Subject, draw
from airflow_provider_seedream.emulator.settings import Settings

_CACHE_BYTES = 256 * 1024 * 1024
_THUMBNAIL_PIXELS = 256
_SMALLEST_PIXELS = 16


class Pictures:
    """A cache of drawn images, at most 256 MB of encoded bytes; the least recently used go first::

        content = await Pictures().get(settings, generation, name)

    :param threads: that draw, beside the event loop.
    """

    def __init__(self, threads: int = 2) -> None:
        self._drawers = ThreadPoolExecutor(threads, thread_name_prefix="seedream-emulator-draw")
        self._drawn: OrderedDict[Subject, bytes] = OrderedDict()
        self._drawing: dict[Subject, asyncio.Future[bytes]] = {}
        self._held_bytes = 0

    async def get(
        self,
        settings: Settings,
        generation: Generation,
        name: ObjectName,
        image_format: ImageFormat | None = None,
    ) -> bytes:
        """The encoded image or thumbnail of one result, drawn when it is first asked for.

        :param image_format: another format than the generation's, for a fault that sends the wrong type.
        """
        subject = _subject(settings, generation, name)
        return await self.drawn(replace(subject, image_format=image_format) if image_format else subject)

    async def drawn(self, subject: Subject) -> bytes:
        """The encoded image of a subject. Two callers that ask at the same time wait for one drawing.

        :param subject: the content of the picture; equal subjects share one drawing.
        """
        if subject in self._drawn:
            self._drawn.move_to_end(subject)
            return self._drawn[subject]
        if subject not in self._drawing:
            self._drawing[subject] = asyncio.ensure_future(self._draw(subject))
        # Shielded: a client that hangs up must not cancel the drawing that another one waits for.
        return await asyncio.shield(self._drawing[subject])

    async def _draw(self, subject: Subject) -> bytes:
        """Draw in a thread, keep the bytes, and forget the oldest where the bound is exceeded."""
        try:
            content = await asyncio.get_running_loop().run_in_executor(self._drawers, draw, subject)
        finally:
            del self._drawing[subject]
        self._drawn[subject] = content
        self._held_bytes += len(content)
        # The newest stays even if it alone exceeds the bound, as it is about to be sent.
        while self._held_bytes > _CACHE_BYTES and len(self._drawn) > 1:
            self._held_bytes -= len(self._drawn.popitem(last=False)[1])
        return content

    def close(self) -> None:
        """End the threads; drawings that have not begun are dropped."""
        self._drawers.shutdown(wait=False, cancel_futures=True)


def _subject(settings: Settings, generation: Generation, name: ObjectName) -> Subject:
    """The content of one result's picture, at the scale of the settings.

    :returns: with ``flat_images`` the same 16 x 16 px for every result, so that a load test draws once.
    """
    submission = generation.submission
    image_format: ImageFormat = "PNG" if name.thumbnail else generation.course.image_format
    if settings.flat_images:
        return Subject(width=16, height=16, image_format=image_format)
    width, height = _pixels(settings, submission.image_size, thumbnail=name.thumbnail)
    return Subject(
        width=width,
        height=height,
        image_format=image_format,
        prompt=submission.prompt,
        seed=generation.seed,
        index=name.index,
        caption=_caption(generation, name.index),
        sources=tuple(source.thumbnail for source in submission.sources),
    )


def _pixels(settings: Settings, image_size: str, *, thumbnail: bool) -> tuple[int, int]:
    """Width and height at the scale of the settings, at least 16 px; a thumbnail has at most 256 px a side.

    :param image_size: a key of ``facts.IMAGE_SIZES``.
    """
    width, height = facts.IMAGE_SIZES[image_size]
    scale = settings.image_scale
    if thumbnail:
        scale = min(scale, _THUMBNAIL_PIXELS / max(width, height))
    return max(_SMALLEST_PIXELS, round(width * scale)), max(_SMALLEST_PIXELS, round(height * scale))


def _caption(generation: Generation, index: int) -> tuple[str, ...]:
    """The parameters of the request as three lines, so that a person sees on the picture what was asked
    for.
    """
    submission = generation.submission
    width, height = facts.IMAGE_SIZES[submission.image_size]
    seed = f"seed {generation.seed}" + ("" if generation.seed == submission.seed else " (drawn)")
    safety = "on" if submission.enable_safety_checker else "off"
    return (
        f"{submission.kind} · image {index + 1} of {submission.num_images} · {seed}",
        f"{submission.image_size} {width}x{height} · safety checker {safety}",
        f"{generation.seedream_task_id}",
    )
