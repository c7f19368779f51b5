"""The only room that decodes and encodes pictures.

Label maps are decoded as stored: a palette PNG gives its indices, a 16-bit PNG its 16-bit ids, and a
2- or 4-bit grey PNG its raw values (Pillow stretches those to 0 … 255).
"""

from __future__ import annotations

import io
import math
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mseg_curate.errors import ImageError

__all__ = [
    "MAX_PIXELS",
    "encode_label_png",
    "encode_mask_png",
    "encode_photo_jpeg",
    "encode_rgb_png",
    "photo_media_type",
    "probe_image",
    "read_image",
    "read_image_part",
    "read_label",
]

MAX_PIXELS = 80_000_000
"""Pictures above this are refused before they are decoded; Pillow itself warns at 89 million."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_EXIF_ORIENTATION = 274
_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
# What every browser shows, by the bytes that such files begin with.
_MEDIA_TYPES = (
    (b"\xff\xd8\xff", b"", "image/jpeg"),
    (_PNG_SIGNATURE, b"", "image/png"),
    (b"RIFF", b"WEBP", "image/webp"),
)
_IMAGE_MODES = ("RGB", "L", "P", "RGBA", "CMYK", "YCbCr")
# Besides OSError, Pillow raises these on damaged files.
_DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class _QuietPillow:
    """Silences Pillow's warnings (broken EXIF, sizes checked here) while any thread decodes.

    `warnings.catch_warnings` alone is undone in the wrong order where threads overlap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._users += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._filters.__exit__(None, None, None)


_QUIET = _QuietPillow()


def read_label(path: Path) -> npt.NDArray[np.uint8 | np.uint16]:
    """Decode a label PNG as stored.

    Returns (H, W) uint8 or uint16 ids, or (H, W, 3) uint8 colours for an RGB-coded map. Raises ImageError
    for a file that is missing, damaged, no PNG, too large, or has an alpha channel.
    """
    height, width, depth, kind = _png_header(path)
    if height * width > MAX_PIXELS:
        raise _too_large(path, (height, width))
    if kind in (_GREY_ALPHA, _RGBA):
        raise ImageError(
            "label map has an alpha channel",
            path=path,
            expected="a grey, palette or RGB PNG",
            hint="write it without transparency",
        )
    if kind == _RGB and depth == 16:
        raise ImageError("label map has 16-bit colours", path=path, expected="8-bit colours")
    try:
        with _QUIET, path.open("rb") as file, Image.open(file, formats=("PNG",)) as picture:
            picture.load()
            pixels = np.asarray(picture)
    except _DECODE_ERRORS as error:
        raise _damaged(path, error) from error
    if pixels.shape[:2] != (height, width) or (pixels.dtype.itemsize == 2) != (depth == 16):
        raise _damaged(path, ValueError("two headers that differ"))
    if kind == _GREY and depth in (2, 4):
        return (pixels // (255 // ((1 << depth) - 1))).astype(np.uint8)
    if depth == 16:
        return pixels.astype(np.uint16)
    return pixels.astype(np.uint8, copy=False)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a photo as (H, W, 3) uint8 RGB.

    Raises ImageError for a file that is missing, damaged, too large, of an unknown format, or that asks
    to be rotated by its EXIF orientation: its label map would not turn with it.
    """
    with _opened_photo(path) as picture:
        return np.asarray(picture.convert("RGB"))


def read_image_part(
    path: Path, box_px: tuple[int, int, int, int], *, longest_px: int
) -> npt.NDArray[np.uint8]:
    """Decode a part of a photo as (h, w, 3) uint8 RGB, scaled down to `longest_px` on its longer side, never up.

    `box_px` is top, left, bottom, right, half-open, inside the photo. A JPEG that is to become much smaller is
    decoded at a half, a quarter or an eighth. Raises ImageError as `read_image` does, and for a box outside.
    """
    top, left, bottom, right = box_px
    with _opened_photo(path) as picture:
        width, height = picture.size
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ImageError(
                "part outside of the photo",
                path=path,
                expected=f"top, left, bottom, right within {height}×{width}",
                found=str(box_px),
                hint="the photo may have been replaced since its dataset was added",
            )
        shrink = max(1.0, max(bottom - top, right - left) / longest_px)
        size = (
            max(1, round((right - left) / shrink)),
            max(1, round((bottom - top) / shrink)),
        )
        picture.draft("RGB", (math.ceil(width / shrink), math.ceil(height / shrink)))
        x, y = picture.width / width, picture.height / height
        part = picture.convert("RGB").resize(
            size, Image.Resampling.BICUBIC, box=(left * x, top * y, right * x, bottom * y)
        )
        return np.asarray(part)


def photo_media_type(data: bytes) -> str | None:
    """Return the media type of a photo file that every browser shows, told by its first bytes, else None."""
    for start, at_eight, media_type in _MEDIA_TYPES:
        if data.startswith(start) and data[8:].startswith(at_eight):
            return media_type
    return None


def probe_image(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels of a photo after decoding it once, at low resolution where that is possible.

    Raises ImageError as `read_image` does: a file that passes can be read.
    """
    with _opened_photo(path) as picture:
        width, height = picture.size
        picture.draft("RGB", (max(1, width // 8), max(1, height // 8)))
        picture.load()
        return height, width


def encode_label_png(label_map: npt.NDArray[np.uint8 | np.uint16]) -> bytes:
    """Encode an (H, W) uint8 or uint16 label map as a grey PNG, the same bytes for the same map.

    Every row takes the Up filter: label maps repeat downwards. 8-bit maps are then run-length coded, which was
    measured 16 times faster than Pillow's default at about its size.
    """
    # Imported here: reading, which training does where zlib-ng may be missing, needs none of it.
    from zlib_ng import zlib_ng  # noqa: PLC0415

    if label_map.ndim != 2 or label_map.dtype not in (np.uint8, np.uint16) or not label_map.size:
        raise ImageError(
            "label map cannot be encoded",
            expected="(H, W) uint8 or uint16",
            found=f"{label_map.shape} {label_map.dtype}",
        )
    height, width = label_map.shape
    wide = label_map.dtype == np.uint16
    rows = np.ascontiguousarray(label_map.astype(">u2") if wide else label_map)
    raw = rows.view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, raw.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = raw[0]
    np.subtract(raw[1:], raw[:-1], out=filtered[1:, 1:])
    level, strategy = (2, zlib_ng.Z_DEFAULT_STRATEGY) if wide else (1, zlib_ng.Z_RLE)
    packer = zlib_ng.compressobj(level, zlib_ng.DEFLATED, 15, 9, strategy)
    body = packer.compress(filtered.tobytes()) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 16 if wide else 8, _GREY, 0, 0, 0)
    return b"".join(
        (_PNG_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    )


def encode_rgb_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode an (H, W, 3) uint8 RGB picture as PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def encode_mask_png(mask: npt.NDArray[np.bool_]) -> bytes:
    """Encode an (H, W) bool mask as a grey PNG of one bit a pixel, white in the mask."""
    if mask.ndim != 2 or mask.dtype != np.bool_ or not mask.size:
        raise ImageError(
            "mask cannot be encoded", expected="(H, W) bool", found=f"{mask.shape} {mask.dtype}"
        )
    height, width = mask.shape
    picture = Image.frombytes("1", (width, height), np.packbits(mask, axis=1).tobytes())
    out = io.BytesIO()
    picture.save(out, format="PNG", compress_level=3)
    return out.getvalue()


def encode_photo_jpeg(pixels: npt.NDArray[np.uint8], *, quality: int = 90) -> bytes:
    """Encode an (H, W, 3) uint8 RGB photo as JPEG; `quality` is Pillow's, 1 … 95."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="JPEG", quality=quality)
    return out.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_header(path: Path) -> tuple[int, int, int, int]:
    try:
        with path.open("rb") as file:
            head = file.read(29)
    except FileNotFoundError:
        raise ImageError("no such file", path=path) from None
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})", path=path) from error
    if len(head) < 29 or head[:8] != _PNG_SIGNATURE or head[12:16] != b"IHDR":
        raise ImageError("not a PNG file", path=path, expected="a label map as PNG")
    width, height, depth, kind = struct.unpack(">IIBB", head[16:26])
    if not width or not height:
        raise ImageError("picture without pixels", path=path, found=f"{width}×{height}")
    return height, width, depth, kind


@contextmanager
def _opened_photo(path: Path) -> Iterator[Image.Image]:
    """Yield a photo whose header was checked; what decoding it raises in the block becomes ImageError."""
    try:
        # Pillow leaves a file open that it opened by name and could not identify.
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError("no such file", path=path) from None
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})", path=path) from error
    with file, _QUIET:
        try:
            with Image.open(file, formats=_IMAGE_FORMATS) as picture:
                _check_photo(path, picture)
                yield picture
        except Image.DecompressionBombError as error:
            raise _too_large(path, None) from error
        except _DECODE_ERRORS as error:
            raise _damaged(path, error) from error


def _check_photo(path: Path, picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise _too_large(path, (height, width))
    if picture.mode not in _IMAGE_MODES:
        raise ImageError(
            "photo of an unknown kind", path=path, expected="RGB or grey", found=picture.mode
        )
    orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    if orientation != 1:
        raise ImageError(
            "photo asks to be rotated",
            path=path,
            expected="EXIF orientation 1",
            found=str(orientation),
            hint="rotate the pixels for good, or remove the tag if the label map fits as it is",
        )


def _too_large(path: Path, size_hw: tuple[int, int] | None) -> ImageError:
    return ImageError(
        "picture is too large",
        path=path,
        expected=f"at most {MAX_PIXELS:,} pixels",
        found=f"{size_hw[0]}×{size_hw[1]}" if size_hw else "more than twice that",
    )


def _damaged(path: Path, error: BaseException) -> ImageError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return ImageError(
        f"damaged picture ({reason})", path=path, hint="replace the file by an undamaged copy"
    )
