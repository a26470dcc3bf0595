"""From links to files: download, verify, hash, and only then publish under the final name; the manifest last.

A function that is passed in downloads, so this module never imports the API, its key or the ledger. Memory holds the images in
flight and no more. Two landings of the same generation at once write the same files, so they do no harm.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from airflow_provider_seedream.exceptions import SeedreamError, SeedreamLandingError
from airflow_provider_seedream.generations import Generation, GenerationStatus, ResultLinks
from airflow_provider_seedream.hooks.first_mistakes import mistake_of_store
from airflow_provider_seedream.landing.memory import MEMORY
from airflow_provider_seedream.manifest import Manifest, ManifestImage, manifest_file
from airflow_provider_seedream.model.images import EXTENSIONS, ImageFacts, inspect_image, is_whole
from airflow_provider_seedream.storage import Folder

PARALLEL_IMAGES = 3  # all six of a batch in two rounds; each holds one whole image in memory
RESULT_TYPES = ("image/png", "image/jpeg", "image/webp")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The source of the bytes: ``status`` gets fresh links, ``fetch`` downloads one."""

    status: Callable[[], GenerationStatus]
    fetch: Callable[[str], bytes]


def find_landed(folder: Folder, generation: Generation) -> Manifest | None:
    """The manifest of a generation whose files are all stored; None if it must be landed (again).

    :raises SeedreamLandingError: the name belongs to another generation, or the storage does not answer.
    """
    with _storing(f"Cannot read {folder.base}", generation):
        manifest = _read_manifest(folder, generation)
        if manifest and all(folder.size_bytes(image.file) == image.size_bytes for image in manifest.images):
            return manifest
    return None


def land(
    folder: Folder,
    generation: Generation,
    origin: Origin,
    build: Callable[[tuple[ManifestImage, ...]], Manifest],
    *,
    mark: Callable[[bytes], bytes] | None = None,
    without_dead_links: bool = False,
) -> Manifest:
    """Land every image that has a link, then the manifest.

    :param build: makes the manifest from the landed images.
    :param without_dead_links: leave out images whose fresh links are dead as well, if another image lands: they are lost.
    :param mark: changes the bytes of a verified image before it is stored; None (default) stores them as they came.
    :raises SeedreamLandingError: the images published so far stay; a retry completes them.
    """
    links = [(number, links) for number, links in enumerate(origin.status().results, 1) if links.image]
    if not links:
        raise SeedreamLandingError("The generation has no image to land.", seedream_task_id=generation.seedream_task_id)
    work = _ImageWork(folder, generation, origin, mark or _as_downloaded)
    with ThreadPoolExecutor(max_workers=PARALLEL_IMAGES, thread_name_prefix="seedream-landing") as pool:
        futures = [pool.submit(work.land_image, number, found) for number, found in links]
    manifest = build(_landed(futures, without_dead_links))
    with _storing(f"The images are stored, but {folder.uri(manifest_file(manifest.name))} could not be written", generation):
        return _publish_manifest(folder, generation, manifest)


def _landed(futures: list[Future[ManifestImage]], without_dead_links: bool) -> tuple[ManifestImage, ...]:
    images: list[ManifestImage] = []
    dead: SeedreamLandingError | None = None
    for future in futures:
        try:
            images.append(future.result())
        except SeedreamLandingError as error:
            if not (without_dead_links and error.stale_link):
                raise
            dead = error
    if dead and not images:
        raise dead
    return tuple(images)


@contextmanager
def _storing(problem: str, generation: Generation) -> Iterator[None]:
    """Turn every error of a store into a SeedreamLandingError that names the paid generation."""
    try:
        yield
    except SeedreamError as error:
        error.seedream_task_id = generation.seedream_task_id
        raise
    except Exception as error:
        failed = SeedreamLandingError(f"{problem}.", seedream_task_id=generation.seedream_task_id)
        failed.cause = f"{type(error).__name__}: {error}"
        if mistake := mistake_of_store(error, generation.destination):
            mistake.named_in(failed)
        raise failed from error


class _ImageWork:
    """Lands single images of one generation."""

    def __init__(self, folder: Folder, generation: Generation, origin: Origin, mark: Callable[[bytes], bytes]) -> None:
        self._folder = folder
        self._generation = generation
        self._origin = origin
        self._mark = mark

    def land_image(self, number: int, links: ResultLinks) -> ManifestImage:
        with _storing(f"Image {number} could not be stored", self._generation):
            return self._land_image(number, links)

    def _land_image(self, number: int, links: ResultLinks) -> ManifestImage:
        with MEMORY.share():
            image = self._store_image(number, links)
        return replace(image, thumbnail=self._land_thumbnail(number, links))

    def _store_image(self, number: int, links: ResultLinks) -> ManifestImage:
        downloaded = self._fetch_image(number, links)
        facts = self._verified(number, downloaded)
        data = self._mark(downloaded)
        downloaded_digest = hashlib.sha256(downloaded).hexdigest()
        digest = downloaded_digest if data is downloaded else hashlib.sha256(data).hexdigest()
        file = f"{self._generation.name}_{number}.{EXTENSIONS[facts.media_type]}"
        self._publish(file, data)
        return ManifestImage(
            number=number,
            file=file,
            sha256=digest,
            size_bytes=len(data),
            width=facts.width,
            height=facts.height,
            media_type=facts.media_type,
            thumbnail=None,
            downloaded_sha256=downloaded_digest,
        )

    def _fetch_image(self, number: int, links: ResultLinks) -> bytes:
        try:
            return self._origin.fetch(links.image or "")
        except SeedreamLandingError as error:
            if not error.stale_link:
                raise
        _log.info("The link of image %d has expired; asking for a fresh one.", number)
        fresh = self._origin.status().results[number - 1 : number]
        if not fresh or not fresh[0].image:
            raise self._error(f"Image {number} has no link any more.", stale_link=True)
        try:
            return self._origin.fetch(fresh[0].image)
        except SeedreamLandingError as error:
            if error.stale_link:
                error.message = f"Image {number}: {error.message.rstrip('.')}, although the API gave a fresh link just now."
            raise

    def _verified(self, number: int, data: bytes) -> ImageFacts:
        facts = inspect_image(data)
        if facts is None or facts.media_type not in RESULT_TYPES:
            raise self._error(f"Image {number} is no PNG, JPEG or WEBP image ({len(data)} bytes).")
        if not is_whole(data, facts):
            raise self._error(f"Image {number} is cut off after {len(data)} bytes.")
        return facts

    def _publish(self, file: str, data: bytes) -> None:
        """Create the file; one that is there already must have the same bytes."""
        if not self._folder.create(file, data):
            raise self._error(f"{self._folder.uri(file)} exists with other content and is never overwritten.")

    def _land_thumbnail(self, number: int, links: ResultLinks) -> str | None:
        """Store the API's thumbnail, best effort: an image without a thumbnail is still complete."""
        if not links.thumbnail:
            return None
        try:
            with MEMORY.share():
                data = self._origin.fetch(links.thumbnail)
                facts = self._verified(number, data)
                file = f"{self._generation.name}_{number}.thumb.{EXTENSIONS[facts.media_type]}"
                self._publish(file, data)
        except Exception as error:
            _log.warning("The thumbnail of image %d could not be landed (%s).", number, type(error).__name__)
            return None
        return file

    def _error(self, message: str, *, stale_link: bool = False) -> SeedreamLandingError:
        return SeedreamLandingError(message, stale_link=stale_link, seedream_task_id=self._generation.seedream_task_id)


def _as_downloaded(data: bytes) -> bytes:
    return data


def _publish_manifest(folder: Folder, generation: Generation, manifest: Manifest) -> Manifest:
    """Create the manifest, or improve on one that lists fewer images or was not settled; another landing's equal one stands."""
    file = manifest_file(manifest.name)
    if folder.create(file, manifest.to_json()):
        return manifest
    there = _read_manifest(folder, generation)
    if there and (len(there.images), there.settled) >= (len(manifest.images), manifest.settled):
        return there
    if there and len(there.images) > len(manifest.images):
        return there
    folder.replace(file, manifest.to_json())
    return manifest


def _read_manifest(folder: Folder, generation: Generation) -> Manifest | None:
    file = manifest_file(generation.name)
    data = folder.read(file)
    try:
        manifest = Manifest.from_json(data) if data is not None else None
    except ValueError as error:
        problem = f"{folder.uri(file)} exists and is not a manifest ({error})"
    else:
        if manifest is None or manifest.seedream_task_id == generation.seedream_task_id:
            return manifest
        problem = f"{folder.uri(file)} belongs to the generation {manifest.seedream_task_id}"
    raise SeedreamLandingError(
        f"{problem}, so this name is taken. Land the images again with "
        f'SeedreamGenerationSensor(generation="{generation.seedream_task_id}", name="<new name>").',
        seedream_task_id=generation.seedream_task_id,
    )
