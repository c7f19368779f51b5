"""Pictures decode as stored, or are refused with one error; nothing else comes out of the room."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from mseg_curate import images
from mseg_curate.errors import ImageError
from mseg_curate.images import (
    encode_label_png,
    encode_photo_jpeg,
    probe_image,
    read_image,
    read_label,
)

Pixels = npt.NDArray[np.uint8]
ORIENTATION = 274
RNG = np.random.default_rng(5)
PHOTO = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
readers = pytest.mark.parametrize("read", [read_label, read_image, probe_image])
photo_readers = pytest.mark.parametrize("read", [read_image, probe_image])
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def chunk(kind: bytes, body: bytes) -> bytes:
    """Build one PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    rows: list[bytes], *, width: int, depth: int, kind: int, extra: bytes = b"", height: int = 0
) -> bytes:
    """Build a PNG by hand from packed rows; `height` overrides what the header says."""
    header = struct.pack(">IIBBBBB", width, height or len(rows), depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = (chunk(b"IHDR", header), extra, chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    """Encode a picture with Pillow."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def written(folder: Path, data: bytes) -> Path:
    """Write bytes into a picture file and return its path."""
    path = folder / "picture.png"
    path.write_bytes(data)
    return path


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.uint8, sizes) | hnp.arrays(np.uint16, sizes))
def test_a_label_map_comes_back_from_its_png(
    tmp_path_factory: pytest.TempPathFactory, label_map: npt.NDArray[np.uint8 | np.uint16]
) -> None:
    """What was encoded is read with the same ids and dtype, and by Pillow alone as well."""
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(encode_label_png(label_map))
    back = read_label(path)
    assert back.dtype == label_map.dtype
    np.testing.assert_array_equal(back, label_map)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), label_map)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.uint8, sizes) | hnp.arrays(np.uint16, sizes))
def test_encoding_is_a_function(label_map: npt.NDArray[np.uint8 | np.uint16]) -> None:
    """Equal maps have equal bytes, however they lie in memory."""
    assert encode_label_png(np.asfortranarray(label_map)) == encode_label_png(label_map.copy())


@pytest.mark.parametrize(
    "label_map",
    [
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((2, 2), np.int64),
        np.zeros((2, 2), np.bool_),
        np.zeros((0, 2), np.uint8),
    ],
)
def test_only_label_maps_are_encoded(label_map: npt.NDArray[np.uint8]) -> None:
    """Other shapes and dtypes are refused with what was found."""
    with pytest.raises(ImageError, match=r"expected \(H, W\) uint8 or uint16, found \("):
        encode_label_png(label_map)


def test_id_300_stays_300(tmp_path: Path) -> None:
    """A 16-bit id is neither clipped to 255 nor wrapped to 44."""
    path = written(tmp_path, saved(Image.fromarray(np.array([[300, 65_535]], np.uint16)), "PNG"))
    assert read_label(path).tolist() == [[300, 65_535]]


def test_a_palette_gives_its_index(tmp_path: Path) -> None:
    """A palette PNG is read as indices, not as colours or their brightness."""
    picture = Image.fromarray(np.array([[0, 1, 200, 255]], np.uint8))
    picture.putpalette([(i * 7) % 256 for i in range(768)])
    label = read_label(written(tmp_path, saved(picture, "PNG")))
    assert (label.dtype.name, label.tolist()) == ("uint8", [[0, 1, 200, 255]])


@pytest.mark.parametrize("kind", [0, 3], ids=["grey", "palette"])
@pytest.mark.parametrize(
    ("depth", "row", "ids"),
    [
        (1, b"\xa0", [1, 0, 1, 0]),
        (2, b"\x1b", [0, 1, 2, 3]),
        (4, b"\x01\xef", [0, 1, 14, 15]),
        (8, b"\x00\x01\x80\xff", [0, 1, 128, 255]),
    ],
)
def test_few_bits_are_read_raw(
    kind: int, depth: int, row: bytes, ids: list[int], tmp_path: Path
) -> None:
    """1-, 2- and 4-bit maps give the values as stored, not stretched to 0 … 255."""
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if kind == 3 else b""
    if kind == 3 and depth < 8:
        palette = chunk(b"PLTE", bytes(range(3 << depth)))
    path = written(tmp_path, png([row, row], width=4, depth=depth, kind=kind, extra=palette))
    label = read_label(path)
    assert (label.dtype.name, label.tolist()) == ("uint8", [ids, ids])


def test_colours_come_as_colours(tmp_path: Path) -> None:
    """An RGB-coded map is read as (H, W, 3), for the reader to look up."""
    label = read_label(written(tmp_path, saved(Image.fromarray(PHOTO), "PNG")))
    np.testing.assert_array_equal(label, PHOTO)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_label_with_alpha_is_refused(mode: str, tmp_path: Path) -> None:
    """Transparency says that the file is a drawing, not a label map."""
    path = written(tmp_path, saved(Image.new(mode, (3, 2)), "PNG"))
    with pytest.raises(ImageError, match="alpha channel: expected a grey, palette or RGB PNG"):
        read_label(path)


def test_a_label_with_wide_colours_is_refused(tmp_path: Path) -> None:
    """16 bits a colour would lose half of them."""
    with pytest.raises(ImageError, match="16-bit colours"):
        read_label(written(tmp_path, png([b"\0" * 6], width=1, depth=16, kind=2)))


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_a_label_of_another_format_is_refused(kind: str, tmp_path: Path) -> None:
    """Only PNG keeps ids, whatever the suffix says."""
    with pytest.raises(ImageError, match="not a PNG file"):
        read_label(written(tmp_path, saved(Image.new("L", (3, 2)), kind)))


@readers
@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<html>", b"\0" * 500]
)
def test_no_picture_is_refused(read: Callable[[Path], object], data: bytes, tmp_path: Path) -> None:
    """Empty files and other bytes raise ImageError with the path."""
    path = written(tmp_path, data)
    with pytest.raises(ImageError, match=r"picture\.png: ") as caught:
        read(path)
    assert caught.value.path == path


@readers
def test_a_missing_file_is_named(read: Callable[[Path], object], tmp_path: Path) -> None:
    """A file that is not there, and a folder in its place, raise ImageError."""
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        read(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read(tmp_path)


@readers
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_png_is_refused(
    read: Callable[[Path], object], share: float, tmp_path: Path
) -> None:
    """A PNG that ends early is damaged, not half black."""
    data = saved(Image.fromarray(PHOTO), "PNG")
    with pytest.raises(ImageError, match="damaged picture"):
        read(written(tmp_path, data[: int(len(data) * share)]))


@photo_readers
@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused(
    read: Callable[[Path], object], share: float, progressive: bool, tmp_path: Path
) -> None:
    """A JPEG that ends early is damaged, also where it is decoded small."""
    data = saved(Image.fromarray(PHOTO), "JPEG", progressive=progressive)
    with pytest.raises(ImageError, match="damaged picture"):
        read(written(tmp_path, data[: int(len(data) * share)]))


@readers
@pytest.mark.parametrize("side", [9_000, 12_000, 40_000])
def test_an_oversized_header_is_refused_before_decoding(
    read: Callable[[Path], object], side: int, tmp_path: Path
) -> None:
    """The size in the header is enough: below, between and above the limits of Pillow itself."""
    data = png([b"\0"], width=side, height=side, depth=8, kind=0)
    with pytest.raises(
        ImageError, match="picture is too large: expected at most 80,000,000 pixels"
    ):
        read(written(tmp_path, data))


@pytest.mark.parametrize("size", [(0, 3), (3, 0)])
def test_a_label_without_pixels_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    """A header of no rows or no columns is an error."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    with pytest.raises(ImageError, match="picture without pixels"):
        read_label(written(tmp_path, b"\x89PNG\r\n\x1a\n" + header))


@pytest.mark.parametrize(("depth", "width"), [(16, 2), (8, 3)])
def test_a_second_header_is_refused(depth: int, width: int, tmp_path: Path) -> None:
    """A file whose second header differs cannot pass the checks of the first."""
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 2, depth, 0, 0, 0, 0))
    row = b"\x01" * (width * depth // 8)
    data = png([row, row], width=2, depth=8, kind=0, extra=second)
    with pytest.raises(ImageError, match="damaged picture"):
        read_label(written(tmp_path, data))


@photo_readers
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photo_that_asks_to_be_rotated_is_refused(
    read: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    """No photo is turned in silence, and none is read beside a label map that would not turn."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = written(tmp_path, saved(Image.fromarray(PHOTO), kind, exif=exif))
    with pytest.raises(ImageError, match="expected EXIF orientation 1, found 6; rotate the pixels"):
        read(path)
    exif[ORIENTATION] = 1
    read(written(tmp_path, saved(Image.fromarray(PHOTO), kind, exif=exif)))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_photo_is_read_as_rgb(kind: str, tmp_path: Path) -> None:
    """A lossless photo comes back pixel by pixel."""
    path = written(tmp_path, saved(Image.fromarray(PHOTO), kind))
    np.testing.assert_array_equal(read_image(path), PHOTO)
    assert probe_image(path) == (24, 32)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "WEBP")],
)
def test_photos_of_other_modes_become_rgb(mode: str, kind: str, tmp_path: Path) -> None:
    """Grey, palette, transparent and CMYK photos are (H, W, 3) uint8 too."""
    picture = Image.fromarray(PHOTO).convert(mode)
    path = written(tmp_path, saved(picture, kind))
    pixels = read_image(path)
    assert (pixels.shape, pixels.dtype.name) == ((24, 32, 3), "uint8")
    assert probe_image(path) == (24, 32)


@photo_readers
@pytest.mark.parametrize("mode", ["1", "LA", "I;16"])
def test_a_photo_of_an_unknown_kind_is_refused(
    read: Callable[[Path], object], mode: str, tmp_path: Path
) -> None:
    """A bitmap or a 16-bit picture is no photo."""
    with pytest.raises(ImageError, match="expected RGB or grey, found"):
        read(written(tmp_path, saved(Image.new(mode, (3, 2)), "PNG")))


def test_a_jpeg_is_near_its_photo(tmp_path: Path) -> None:
    """An encoded photo has the size and about the colours of its pixels."""
    smooth = np.broadcast_to(np.arange(0, 240, 4, dtype=np.uint8)[:, None, None], (60, 80, 3))
    path = written(tmp_path, encode_photo_jpeg(smooth.copy(), quality=95))
    assert probe_image(path) == (60, 80)
    assert np.abs(read_image(path).astype(int) - smooth).max() <= 4


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Cut, overwrite, flip or drop bytes, the header more often than the rest."""
    broken = bytearray(data)
    if rng.random() < 0.15:
        return bytes(broken[: rng.randrange(len(broken))])
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(min(len(broken), rng.choice((60, 300, len(broken)))))
        broken[place] = rng.choice((0, 255, broken[place] ^ (1 << rng.randrange(8))))
    if rng.random() < 0.2:
        del broken[place : place + rng.randrange(1, 9)]
    return bytes(broken)


def with_right_checksums(data: bytes) -> bytes:
    """Correct the checksum of every chunk of a mutated PNG, so that damage reaches the decoder."""
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        length = struct.unpack(">I", data[place : place + 4])[0]
        body = data[place + 4 : place + 8 + length]
        out += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return bytes(out)


def tagged() -> Image.Exif:
    """Return a small EXIF block, for the mutations to break."""
    exif = Image.Exif()
    exif[ORIENTATION] = 1
    exif[271] = "maker"
    return exif


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(PHOTO), "PNG", exif=tagged()),
        saved(Image.fromarray(PHOTO).convert("P"), "PNG", transparency=bytes(range(20))),
        encode_label_png(PHOTO[..., 0]),
        encode_label_png(PHOTO[..., 0].astype(np.uint16) * 250),
        saved(Image.fromarray(PHOTO), "JPEG", exif=tagged()),
        saved(Image.fromarray(PHOTO), "JPEG", progressive=True),
    ],
    ids=["png", "palette", "label", "wide label", "jpeg", "progressive"],
)
def test_mutated_pictures_decode_or_raise_image_error(data: bytes, tmp_path: Path) -> None:
    """300 mutations of a small picture raise ImageError or decode; a photo that was probed can be read."""
    rng = random.Random(300)
    outcomes = set()
    for count in range(300):
        broken = mutate(data, rng)
        if data.startswith(b"\x89PNG") and count % 2:
            broken = with_right_checksums(broken)
        path = written(tmp_path, broken)
        passed = [reads(read, path) for read in (read_label, probe_image, read_image)]
        assert passed[1] == passed[2], f"mutation {count}"
        outcomes.update(passed)
    assert outcomes == {True, False}


def reads(read: Callable[[Path], object], path: Path) -> bool:
    """Say whether a reader takes a file, letting every error but ImageError through."""
    try:
        read(path)
    except ImageError:
        return False
    return True


def decode_with_pillow(path: Path) -> None:
    """Read the header, the tags and the pixels of a photo, warnings and all."""
    with Image.open(path) as picture:
        picture.getexif()
        picture.convert("RGB")


def photo_with_broken_exif() -> bytes:
    """Return a JPEG whose EXIF block promises more than it holds, which Pillow warns about."""
    data = saved(Image.fromarray(PHOTO), "JPEG", exif=tagged())
    start = data.index(b"Exif\0\0") + 6
    count = start + 8 + 2 + 12 + 4
    return data[:count] + b"\xff" + data[count + 1 :]


@pytest.mark.parametrize(
    "data",
    [
        photo_with_broken_exif(),
        saved(Image.fromarray(PHOTO).convert("P"), "PNG", transparency=bytes(range(20))),
    ],
    ids=["broken EXIF", "palette with alpha"],
)
def test_pillows_warnings_stay_inside(data: bytes, tmp_path: Path) -> None:
    """A photo that Pillow warns about is read without a warning, and the filters stay as they were."""
    path = written(tmp_path, data)
    with pytest.warns(UserWarning, match="Tag data larger|Corrupt EXIF|Palette images"):
        decode_with_pillow(path)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(path).shape == (24, 32, 3)
        assert probe_image(path) == (24, 32)
    assert caught == []
    assert warnings.filters == before


def test_threads_leave_the_warning_filters_alone(tmp_path: Path) -> None:
    """Many threads decode at once without a warning, and leave the filters as they found them."""
    path = written(tmp_path, photo_with_broken_exif())
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        shapes = {pixels.shape for pixels in pool.map(read_image, [path] * 200)}
    assert shapes == {(24, 32, 3)}
    assert warnings.filters == before


def test_the_limit_is_below_pillows() -> None:
    """Our own limit comes before the one at which Pillow warns."""
    assert Image.MAX_IMAGE_PIXELS is not None
    assert images.MAX_PIXELS < Image.MAX_IMAGE_PIXELS
