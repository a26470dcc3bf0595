"""Manifests, ledger records and images as the gallery may show them: below a root, bounded in size, and of
the stated type.

Each obstacle is a :class:`CannotShowError` with a sentence for people. It only reads, and leaves permissions
to ``guards``. Knows no HTTP requests and no HTML.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.gallery.roots import is_bare, is_below
from airflow_provider_seedream.gallery.stores import StoreHangsError, store_of
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.landing.images import RESULT_TYPES
from airflow_provider_seedream.ledger.records import Record
from airflow_provider_seedream.manifest import Manifest, ManifestImage, manifest_file
from airflow_provider_seedream.model.images import inspect_image
from airflow_provider_seedream.storage.folder import Folder

MAX_JSON_BYTES = 256 * 1024  # a manifest or record of ours has 2 to 10 KB
MAX_IMAGE_BYTES = 64 * 1024 * 1024  # what landing takes by default
_MAX_NUMBER = 2**53
T = TypeVar("T")
_log = logging.getLogger(__name__)


class CannotShowError(Exception):
    """Why something cannot be shown, as a sentence for people; it stands on the card in the place of the
    pictures.

    ::

        raise CannotShowError("The file is no PNG, JPEG or WebP image.")
    """


class StorageHangsError(CannotShowError):
    """The storage did not answer in time: its other files would not be read either, so a caller with many of
    them stops.

    ::

        raise StorageHangsError("The storage did not answer in time. The page asks it again in a moment.")
    """


def read_manifest(uri: str, roots: tuple[str, ...], *, seedream_task_id: str | None = None) -> Manifest:
    """Read the manifest of a landed generation.

    :param uri: from an XCom, so user input.
    :param roots: the folders that the gallery may read.
    :param seedream_task_id: the generation that it must be of; None where the address names the file alone.
    :raises CannotShowError: when it may not be read, cannot be read, or is not what it should be.
    """
    try:
        manifest = Manifest.from_json(_read_below(uri, roots))
    except ValueError:
        raise CannotShowError("Its manifest is not one of ours.") from None
    is_its = seedream_task_id in (None, manifest.seedream_task_id) and uri.endswith(
        f"/{manifest_file(str(manifest.name))}"
    )
    # Others may write into the folder: a manifest counts only if its name and its id fit the address.
    if not _is_sound(manifest) or not is_its:
        raise CannotShowError("Its manifest is not that of this generation.")
    return manifest


def read_record(submitted: Generation, roots: tuple[str, ...]) -> Record:
    """Read the ledger record of a generation that was not landed.

    :raises CannotShowError: as for a manifest; also if the record is that of another generation.
    """
    try:
        record = Record.from_json(_read_below(submitted.record, roots))
    except (ValueError, RecursionError):
        raise CannotShowError("Its record is not one of ours.") from None
    if record.seedream_task_id != submitted.seedream_task_id:
        raise CannotShowError("Its record is not that of this generation.")
    return record


def read_piece(uri: str, roots: tuple[str, ...], *, start: int, max_bytes: int) -> bytes:
    """Read a piece of a file below the roots.

    :param start: the first byte.
    :param max_bytes: the most bytes; fewer come at the end of the file.
    :raises CannotShowError: when it may not be read or cannot be.
    """
    folder, file = _below(uri, roots)
    return _ask(folder, file, lambda store: store.read(file, start=start, max_bytes=max_bytes))


def read_image(folder: str, file: str) -> tuple[bytes, str]:
    """Read an image.

    :param folder: storage URI of its folder, already checked against the roots.
    :param file: its name, already checked to be one plain file name.
    :returns: its bytes and its media type. The bytes tell the type, so a browser is never given a page of
        HTML that is named ``.png``.
    :raises CannotShowError: it is larger than 64 MiB, no PNG, JPEG or WebP image, or cannot be read.
    """
    if _ask(folder, file, lambda store: store.size_bytes(file)) > MAX_IMAGE_BYTES:
        raise CannotShowError("The file is too large to be shown.")
    # whole: gcsfs asks for pieces beyond the end of a bounded one
    data = _ask(folder, file, lambda store: store.read(file))
    facts = inspect_image(data)
    if facts is None or facts.media_type not in RESULT_TYPES:
        raise CannotShowError("The file is no PNG, JPEG or WebP image.")
    return data, facts.media_type


def _read_below(uri: object, roots: tuple[str, ...]) -> bytes:
    """A JSON file below the roots, bounded by 256 KiB."""
    folder, file = _below(uri, roots)
    data = _ask(folder, file, lambda store: store.read(file, max_bytes=MAX_JSON_BYTES + 1))
    if len(data) > MAX_JSON_BYTES:
        raise CannotShowError("The file is too large to be shown.")
    return data


def _below(uri: object, roots: tuple[str, ...]) -> tuple[str, str]:
    """The folder and the file of a URI that may be read."""
    if not roots:
        raise CannotShowError("Showing images is switched off here.")
    if not isinstance(uri, str) or not is_below(uri, roots):
        raise CannotShowError("Its folder is none of those that the gallery may read.")
    folder, _, file = uri.rpartition("/")
    return folder, file


def _ask(folder: str, file: str, act: Callable[[Folder], T | None]) -> T:
    """The storage's answer about a file; each error becomes a sentence."""
    try:
        found = store_of(folder).ask(folder, act)
    except SeedreamInputError:
        raise CannotShowError("Its folder is no storage folder.") from None
    except StoreHangsError:
        raise StorageHangsError(
            "The storage did not answer in time. The page asks it again in a moment."
        ) from None
    except Exception as error:  # each store has error classes of its own
        # Only the log has the cause: a store's error may name buckets and keys that the user should not see.
        _log.warning("The gallery cannot read %s/%s: %s: %s", folder, file, type(error).__name__, error)
        raise CannotShowError("The storage does not answer, or refuses the web server.") from None
    if found is None:
        raise CannotShowError("The file is not in the storage any more.")
    return found


def _is_sound(manifest: Manifest) -> bool:
    """True if the fields that are shown have the types they should: a folder may be open to others."""
    return (
        isinstance(manifest.name, str)
        and isinstance(manifest.submission, dict | None)
        and isinstance(manifest.images_requested, int | None)
        and bool(manifest.images)
        and all(map(_is_sound_image, manifest.images))
    )


def _is_sound_image(image: ManifestImage) -> bool:
    numbers = (image.number, image.width, image.height, image.size_bytes)
    return (
        is_bare(image.file)
        and (image.thumbnail is None or is_bare(image.thumbnail))
        and isinstance(image.sha256, str)
        and all(isinstance(number, int) and 0 < number < _MAX_NUMBER for number in numbers)
    )
