"""Decides whether an image file is whole, by its structure: one check for results and for the sources of an
edit.

Each format has one function. It follows the blocks that the format itself declares, from the first byte to
the end marker, and says whether all of them are there. Bytes behind the end are ignored: viewers ignore them
too. Decodes no pixel; imports nothing of ours.

Sources: PNG (ISO/IEC 15948) 5.3 and 11.2; JPEG (ITU-T T.81) annex B; WebP (RFC 9649) 2.3 to 2.7; GIF89a 15 to
27; TIFF 6.0 section 2; BMP (Microsoft, OS/2 Presentation Manager).
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal

ByteOrder = Literal["little", "big"]

# A JPEG marker: 0xFF, then neither a stuffed zero, nor a fill byte, nor a restart marker (D0 to D7), nor TEM
# (01).
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_MAX_TIFF_PAGES = 1000
# bytes of a value by its type, BYTE to IFD
_TIFF_SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1))
_STRIPS, _TILES = (273, 279), (324, 325)  # tags: where the pieces begin, and how long they are


def is_complete(data: bytes, media_type: str) -> bool:
    """True if everything that the format prescribes is there, up to its end marker.

    :param media_type: as ``image/png``, told by the magic bytes.
    :returns: False also for a file whose blocks contradict each other; it never raises for bytes.
    """
    try:
        return _CHECKS[media_type](data)
    except (IndexError, ValueError):  # a block reaches behind the last byte
        return False


def bmp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a BMP in pixels, also of OS/2's, whose header has 12 bytes and holds them in two
    bytes each.

    :raises IndexError: the header is cut.
    """
    if _int(data, 14, 4, "little") == 12:
        return _int(data, 18, 2, "little"), _int(data, 20, 2, "little")
    # negative: the rows run from the top down
    height = int.from_bytes(_piece(data, 22, 4), "little", signed=True)
    return int.from_bytes(_piece(data, 18, 4), "little", signed=True), abs(height)


def bytes_behind_end(data: bytes, media_type: str) -> bytes:
    """The bytes behind the end of a whole PNG or WEBP: viewers ignore them, and some writers of metadata drop
    them.

    :returns: empty for other formats.
    """
    if media_type == "image/png":
        return data[_png_end(data)[0] :]
    if media_type == "image/webp":
        return data[8 + _int(data, 4, 4, "little") :]
    return b""


def _is_whole_png(data: bytes) -> bool:
    """Chunks up to IEND, with pixels (IDAT) among them."""
    end, has_pixels = _png_end(data)
    return has_pixels and end <= len(data)


def _png_end(data: bytes) -> tuple[int, bool]:
    """The byte behind the chunks of length, type, data and checksum, IEND included, and whether pixels are
    among them.
    """
    at, has_pixels = 8, False
    while (kind := _piece(data, at + 4, 4)) != b"IEND":
        has_pixels |= kind == b"IDAT"
        at += 12 + _int(data, at, 4, "big")
    return at + 12, has_pixels


def _is_whole_jpeg(data: bytes) -> bool:
    """Segments, in one of which a thumbnail may lie, with an end marker (EOI) behind the first scan (SOS)."""
    at, has_scan = 2, False
    while found := _JPEG_MARKER.search(data, at):
        marker = found[1][0]
        if marker == _EOI:
            return has_scan
        if marker == _SOI:
            return False
        has_scan |= marker == _SOS
        at = found.end() + max(2, _int(data, found.end(), 2, "big"))
    return False


def _is_whole_webp(data: bytes) -> bool:
    """A RIFF file as long as it says, with the pixels of at least one frame inside."""
    end = 8 + _int(data, 4, 4, "little")
    if end > len(data):
        return False
    at, has_pixels = 12, False
    while at + 8 <= end:
        body_end = at + 8 + _int(data, at + 4, 4, "little")
        if body_end > end:
            return False
        has_pixels |= data[at : at + 4] in (b"VP8 ", b"VP8L", b"ANMF")
        at = body_end + body_end % 2
    return has_pixels


def _is_whole_gif(data: bytes) -> bool:
    """Blocks up to the trailer, with a picture among them."""
    at, has_pixels = 13 + _gif_palette(data[10]), False
    while (kind := data[at]) != 0x3B:
        if kind == 0x21:
            at = _after_sub_blocks(data, at + 2)
        elif kind == 0x2C:
            has_pixels = True
            at = _after_sub_blocks(data, at + 11 + _gif_palette(data[at + 9]))
        elif kind == 0:  # some encoders end a picture twice; viewers skip it
            at += 1
        else:
            return False
    return has_pixels


def _gif_palette(flags: int) -> int:
    """The bytes of a palette, by the flags before it; 0 without one."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, at: int) -> int:
    """The byte behind a chain of sub-blocks, each with its length in front; a length of 0 ends it."""
    while length := data[at]:
        at += 1 + length
    return at + 1


def _is_whole_bmp(data: bytes) -> bool:
    """As many bytes of pixels as the header says; for compressed ones it names their size."""
    width, height = bmp_size(data)
    header_bytes = _int(data, 14, 4, "little")
    bits = _int(data, 24 if header_bytes == 12 else 28, 2, "little")
    compression = _int(data, 30, 4, "little") if header_bytes > 16 else 0
    is_plain = compression in (0, 3, 6)  # BI_RGB, BI_BITFIELDS, BI_ALPHABITFIELDS
    size = (width * bits + 31) // 32 * 4 * height if is_plain else _int(data, 34, 4, "little")
    return size > 0 and _int(data, 10, 4, "little") + size <= len(data)


def _is_whole_tiff(data: bytes) -> bool:
    """Every page has its strips or tiles inside the file."""
    order: ByteOrder = "little" if data.startswith(b"II") else "big"
    at, pages = _int(data, 4, 4, order), 0
    while at:
        if pages == _MAX_TIFF_PAGES or not _has_whole_pixels(data, at, order):
            return False
        pages += 1
        at = _int(data, at + 2 + 12 * _int(data, at, 2, order), 4, order)
    return pages > 0


def _has_whole_pixels(data: bytes, at: int, order: ByteOrder) -> bool:
    """True if one page has its strips or tiles, and each of them ends inside the file."""
    tags = dict(_tiff_tags(data, at, order))
    for starts, lengths in (_STRIPS, _TILES):
        if begin := tags.get(starts):
            sizes = tags.get(lengths) or [1] * len(begin)  # TIFF 5 allowed one strip without its length
            return max(map(sum, zip(begin, sizes, strict=False))) <= len(data)
    return False


def _tiff_tags(data: bytes, at: int, order: ByteOrder) -> Iterator[tuple[int, list[int]]]:
    """The tags of one page that say where its pixels are; all tags must have their values inside the file."""
    for entry in range(at + 2, at + 2 + 12 * _int(data, at, 2, order), 12):
        tag, size = _int(data, entry, 2, order), _TIFF_SIZES.get(_int(data, entry + 2, 2, order), 1)
        count = _int(data, entry + 4, 4, order)
        first = entry + 8 if count * size <= 4 else _int(data, entry + 8, 4, order)
        values = _piece(data, first, count * size)
        if tag in (*_STRIPS, *_TILES):
            yield (
                tag,
                [
                    int.from_bytes(values[start : start + size], order)
                    for start in range(0, len(values), size)
                ],
            )


def _piece(data: bytes, at: int, count: int) -> bytes:
    """Some bytes of the file. :raises IndexError: it ends before them, so it is cut."""
    if at + count > len(data):
        raise IndexError(f"the file ends before byte {at + count}")
    return data[at : at + count]


def _int(data: bytes, at: int, count: int, order: ByteOrder) -> int:
    """An unsigned number of the file. :raises IndexError: as for a piece."""
    return int.from_bytes(_piece(data, at, count), order)


_CHECKS: dict[str, Callable[[bytes], bool]] = {
    "image/png": _is_whole_png,
    "image/jpeg": _is_whole_jpeg,
    "image/webp": _is_whole_webp,
    "image/gif": _is_whole_gif,
    "image/bmp": _is_whole_bmp,
    "image/tiff": _is_whole_tiff,
}
