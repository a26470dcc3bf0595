"""Says inside an image file that AI made it: XMP with IPTC's fields, in JPEG, PNG and WEBP. No pixel is
decoded or changed.

Needs exiv2, which the extra ``metadata`` brings. The same bytes in give the same bytes out, so that a retry
recognises its own files.
"""

from typing import Any

from airflow_provider_seedream.model import threads
from airflow_provider_seedream.model.images import inspect_image, is_whole
from airflow_provider_seedream.model.structure import bytes_behind_end

CREDIT = "AI generated"
_REMOTE_MANIFEST = "Xmp.dcterms.provenance"
_lock = threads.lock()  # exiv2's XMP parser holds state of the process


def has_content_credentials(data: bytes) -> bool:
    """True if a C2PA manifest signs the file: its signature covers the bytes, so that any change would break
    it.

    The manifest lies in the file, or elsewhere: then ``dcterms:provenance`` in the file's XMP says where
    (C2PA: external manifests).
    """
    if b"jumb" in data and b"c2pa" in data:
        return True
    with _lock:
        return any(entry.key() == _REMOTE_MANIFEST for entry in _opened(data).xmpData())


def embed(data: bytes, *, seedream_task_id: str, model: str, digital_source_type: str | None) -> bytes:
    """The same image with its origin in XMP; other XMP in the file stays.

    :param seedream_task_id: becomes ``dc:identifier``.
    :param model: becomes ``Iptc4xmpExt:AISystemUsed``.
    :param digital_source_type: IPTC's URI; None where it is not known, as for a bare id.
    :raises ValueError: when the outcome would not be the same image.
    """
    fields = {
        "Xmp.photoshop.Credit": CREDIT,
        "Xmp.iptcExt.AISystemUsed": model,
        "Xmp.dc.identifier": seedream_task_id,
        **({"Xmp.iptcExt.DigitalSourceType": digital_source_type} if digital_source_type else {}),
    }
    with _lock:
        embedded = _write(data, fields)
    facts = inspect_image(embedded)
    if facts is None or facts != inspect_image(data) or not is_whole(embedded, facts):
        raise ValueError("the file would not be the same image")
    return embedded + bytes_behind_end(data, facts.media_type)  # exiv2 drops them, but for JPEG


def _opened(data: bytes) -> Any:
    """The file with its metadata read. Namespaces have exiv2's prefixes, also if the file calls them
    otherwise.
    """
    import exiv2

    exiv2.XmpParser.initialize()
    image = exiv2.ImageFactory.open(data)
    image.readMetadata()
    return image


def _write(data: bytes, fields: dict[str, str]) -> bytes:
    """The bytes that exiv2 writes, with these fields replaced. Call it with the lock held."""
    image = _opened(data)
    xmp = image.xmpData()
    for name, value in fields.items():
        xmp[name] = value
    image.writeMetadata()
    changed = image.io()
    changed.open()
    with changed.mmap() as view:
        return bytes(view)
