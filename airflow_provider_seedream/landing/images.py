"""One image: download, verify, hash, and only then publish under its final name.

Memory holds the images in flight and no more. Never imports the ledger, so no payment can depend on a
download.
"""

import hashlib
import logging
from dataclasses import replace

from airflow_provider_seedream.exceptions import SeedreamLandingError
from airflow_provider_seedream.generations import Generation, ResultLinks
from airflow_provider_seedream.landing import xmp
from airflow_provider_seedream.landing.errors import storing
from airflow_provider_seedream.landing.links import Links
from airflow_provider_seedream.landing.memory import MEMORY
from airflow_provider_seedream.manifest import DIGITAL_SOURCE_TYPES, ManifestImage
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.images import EXTENSIONS, ImageFacts, inspect_image, is_whole
from airflow_provider_seedream.storage.folder import Folder

RESULT_TYPES = ("image/png", "image/jpeg", "image/webp")
_log = logging.getLogger(__name__)


class ImageLander:
    """Lands single images of one generation. Its methods may run in several threads, one for each image.

    ::

        lander = ImageLander(folder, generation, links, embed_metadata=False)
        lander.land(1, links.ask()[0])  # ManifestImage(number=1, file="hero_1.png", sha256="9f86...", ...)

    Names never come from the server: a file is named after the generation and the image's number. Its
    extension follows the bytes.

    :param folder: the destination.
    :param links: of the generation; they also fetch.
    :param embed_metadata: say in the files that AI made them; then the stored bytes differ from the
        downloaded ones.
    """

    def __init__(self, folder: Folder, generation: Generation, links: Links, *, embed_metadata: bool) -> None:
        self._folder = folder
        self._generation = generation
        self._links = links
        self._embed_metadata = embed_metadata

    def land(self, number: int, links: ResultLinks) -> ManifestImage:
        """Store an image and its thumbnail.

        :param number: counted from 1, in the order of the API's answer.
        :param links: of this image.
        :returns: the image's entry for the manifest.
        :raises SeedreamLandingError: a retry completes it; what was published stays.
        """
        with storing(f"Image {number} could not be stored", self._generation):
            with MEMORY.share():
                # the thumbnail has a share of its own, as a thread holds one image at a time
                image = self._store(number, links)
            return replace(image, thumbnail=self._land_thumbnail(number, links))

    def _store(self, number: int, links: ResultLinks) -> ManifestImage:
        """Download, verify, hash and publish. The entry for the manifest holds both hashes, as embedding
        changes the bytes.
        """
        downloaded = self._fetch(number, links)
        facts = self._verified(number, downloaded)
        data = self._marked(downloaded) if self._embed_metadata else downloaded
        downloaded_digest = hashlib.sha256(downloaded).hexdigest()
        digest = downloaded_digest if data is downloaded else hashlib.sha256(data).hexdigest()
        # The type of the bytes, not of the link: a link that ends in .png may lead to a JPEG.
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

    def _fetch(self, number: int, links: ResultLinks) -> bytes:
        """The bytes of an image; if its link has expired, by a fresh one.

        :raises SeedreamLandingError: with ``stale_link`` if the fresh link is dead as well, or if there is
            none.
        """
        try:
            return self._links.fetch(links.image or "")
        except SeedreamLandingError as error:
            if not error.stale_link:
                raise
        _log.info("The link of image %d has expired; asking for a fresh one.", number)
        fresh = self._links.ask_for(number)
        if fresh is None or not fresh.image:
            raise self._error(f"Image {number} has no link any more.", stale_link=True)
        try:
            return self._links.fetch(fresh.image)
        except SeedreamLandingError as error:
            if error.stale_link:
                error.message = (
                    f"Image {number}: {error.message.rstrip('.')}, although the API gave a fresh link just "
                    "now."
                )
            raise

    def _verified(self, number: int, data: bytes) -> ImageFacts:
        """The facts of a whole image of a type that the API makes: a download may be an error page, or be cut
        off.

        :raises SeedreamLandingError: nothing was stored; a retry downloads again.
        """
        facts = inspect_image(data)
        if facts is None or facts.media_type not in RESULT_TYPES:
            raise self._error(f"Image {number} is no PNG, JPEG or WEBP image ({len(data)} bytes).")
        if not is_whole(data, facts):
            raise self._error(f"Image {number} is cut off after {len(data)} bytes.")
        return facts

    def _marked(self, data: bytes) -> bytes:
        """The image with metadata in it; unchanged if that would break a signature or fails: it is paid,
        and must land.
        """
        kind = self._generation.kind
        source_type = DIGITAL_SOURCE_TYPES[kind] if kind else None
        task_id = self._generation.seedream_task_id
        try:
            if xmp.has_content_credentials(data):
                _log.warning(
                    "An image carries Content Credentials (C2PA) of its own; it is landed unchanged, without "
                    "embedded metadata."
                )
                return data
            return xmp.embed(
                data, seedream_task_id=task_id, model=contract.MODEL, digital_source_type=source_type
            )
        except Exception as error:  # any class: exiv2 has its own
            _log.warning(
                "Metadata could not be embedded (%s: %s); the image is landed unchanged.",
                type(error).__name__,
                error,
            )
            return data

    def _publish(self, file: str, data: bytes) -> None:
        """Create the file; one that is there already must have the same bytes: another landing, or an earlier
        try, wrote it.

        :raises SeedreamLandingError: the name belongs to another image.
        """
        if not self._folder.create(file, data):
            raise self._error(f"{self._folder.uri(file)} exists with other content and is never overwritten.")

    def _land_thumbnail(self, number: int, links: ResultLinks) -> str | None:
        """Store the API's thumbnail, best effort: an image without a thumbnail is still complete."""
        # An answer may lack it; the image is complete without.
        if not links.thumbnail:
            return None
        try:
            with MEMORY.share():
                data = self._links.fetch(links.thumbnail)
                facts = self._verified(number, data)
                file = f"{self._generation.name}_{number}.thumb.{EXTENSIONS[facts.media_type]}"
                self._publish(file, data)
        except Exception as error:  # of any class: no error of a thumbnail may cost the image
            _log.warning("The thumbnail of image %d could not be landed (%s).", number, type(error).__name__)
            return None
        return file

    def _error(self, message: str, *, stale_link: bool = False) -> SeedreamLandingError:
        return SeedreamLandingError(
            message, stale_link=stale_link, seedream_task_id=self._generation.seedream_task_id
        )
