"""Photographs: refused by name, and decoded to the same pixels whatever their file says."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from alignedcut_cli.datasets.images import BadImage, ImageEntry, Manifest, decode, read_manifest
from tests.conftest import photograph

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def pixels(path: Path) -> np.ndarray:
    image = decode(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def read(*paths: Path) -> tuple[Manifest, list[BadImage]]:
    return read_manifest(paths, lambda _: None, 2, lambda _: None)


def reason(path: Path) -> str:
    """Why a file cannot be used."""
    _, bad = read(path)
    assert [one.path for one in bad] == [path]
    return bad[0].reason


# decoding


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, suffix: str) -> None:
    """0 and 9 are no orientations: the image stays as it is."""
    image = photograph(1, 48, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", image, exif=exif)
    with Image.open(path) as opened:
        wanted = ImageOps.exif_transpose(opened)
    np.testing.assert_array_equal(pixels(path), np.asarray(wanted))
    assert decode(path).size == ((32, 48) if orientation in (5, 6, 7, 8) else (48, 32))
    entry = read(path)[0].images[0]
    assert (entry.width, entry.height) == decode(path).size
    if suffix != "jpg":
        turned = {3: image.rotate(180), 6: image.rotate(-90, expand=True), 8: image.rotate(90, expand=True)}
        np.testing.assert_array_equal(pixels(path), np.asarray(turned.get(orientation, wanted)))


def test_colour_modes_that_lose_nothing(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS)
    for suffix in ("png", "bmp", "tiff", "ppm"):
        np.testing.assert_array_equal(pixels(saved(tmp_path / f"a.{suffix}", image)), COLOURS)
    grey = image.convert("L")
    wanted = np.repeat(np.asarray(grey)[:, :, None], 3, 2)
    for suffix in ("png", "pgm", "tiff"):
        np.testing.assert_array_equal(pixels(saved(tmp_path / f"b.{suffix}", grey)), wanted)
    palette = image.quantize(16)
    np.testing.assert_array_equal(pixels(saved(tmp_path / "c.png", palette)), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(COLOURS[:, :, 0] > 127)
    np.testing.assert_array_equal(pixels(saved(tmp_path / "d.png", bits))[:, :, 0], (COLOURS[:, :, 0] > 127) * 255)


def test_cmyk(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0]]], np.uint8), "CMYK")
    np.testing.assert_array_equal(
        pixels(saved(tmp_path / "a.tiff", image)), [[[255, 255, 255], [0, 0, 0], [0, 255, 255]]]
    )
    large = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert np.abs(pixels(saved(tmp_path / "a.jpg", large, quality=95))[8, 8].astype(int) - [0, 255, 255]).max() <= 3


def _blended(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, COLOURS.shape[:2], dtype=np.uint8)
    colour = COLOURS if mode == "RGBA" else np.repeat(COLOURS[:, :, :1], 3, 2)
    channels = [colour, alpha[..., None]] if mode == "RGBA" else [colour[:, :, :1], alpha[..., None]]
    path = saved(tmp_path / "a.png", Image.fromarray(np.concatenate(channels, 2), mode))
    assert np.abs(pixels(path) - _blended(colour, alpha)).max() <= 1


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\x80"], ids=["index", "table"])
def test_transparent_palettes(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    found = pixels(saved(tmp_path / "a.png", image, transparency=transparency))[0]
    third = [70, 80, 90] if transparency == 1 else [162, 167, 172]
    assert np.abs(found - np.array([[10, 20, 30], [255, 255, 255], third])).max() <= 1


def test_transparent_colours_without_an_alpha_channel(tmp_path: Path) -> None:
    grey = saved(tmp_path / "a.png", Image.fromarray(np.array([[5, 6]], np.uint8)), transparency=5)
    np.testing.assert_array_equal(pixels(grey)[0], [[255] * 3, [6] * 3])
    colour = saved(
        tmp_path / "b.png", Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)), transparency=(1, 2, 3)
    )
    np.testing.assert_array_equal(pixels(colour)[0], [[255] * 3, [4, 5, 6]])


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bit_grey_keeps_its_values(tmp_path: Path, suffix: str) -> None:
    values = (257 * np.arange(256)).astype(np.uint16).reshape(16, 16)
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(values))
    np.testing.assert_array_equal(pixels(path)[:, :, 0], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_dark_16_bit_images_stay_dark(tmp_path: Path, suffix: str) -> None:
    """The scale is that of the file, not of the brightest pixel."""
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(np.full((4, 4), 200, np.uint16)))
    assert pixels(path).max() == 1


def test_float_tiff(tmp_path: Path) -> None:
    values = np.linspace(-2, 3, 6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(
        pixels(saved(tmp_path / "a.tiff", Image.fromarray(values)))[:, :, 0], [[0, 51, 102], [153, 204, 255]]
    )
    assert pixels(saved(tmp_path / "b.tiff", Image.fromarray(np.full((2, 2), 7, np.float32)))).max() == 0
    values[0, 0], values[1, 2] = np.nan, np.inf
    np.testing.assert_array_equal(
        pixels(saved(tmp_path / "c.tiff", Image.fromarray(values)))[:, :, 0], [[0, 0, 85], [170, 255, 255]]
    )


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(path)[0, 0], [255, 0, 0])
    assert len(read(path)[0].images) == 1


def test_avif(tmp_path: Path) -> None:
    """Beside the same picture as PNG, and turned as its tag says."""
    image = photograph(1, 48, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.avif", image, quality=90, exif=exif)
    found = pixels(path).astype(float)
    assert found.shape == (48, 32, 3)
    assert np.abs(found - np.asarray(image.rotate(-90, expand=True))).mean() < 8
    assert (read(path)[0].images[0].width, read(path)[0].images[0].height) == (32, 48)


def test_a_jpeg_decoded_near_a_size_is_no_smaller(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", photograph(3, 640, 480), quality=95)
    for near in (16, 60, 120, 240):
        image = decode(path, near)
        assert min(image.size) >= min(2 * near, 480)
        small = np.asarray(decode(path).resize((32, 24), Image.Resampling.BOX), float)
        assert np.abs(np.asarray(image.resize((32, 24), Image.Resampling.BOX), float) - small).mean() < 3


# bad files


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _huge_png(side: int) -> bytes:
    """The beginning of a PNG that says it is enormous."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(100)))
        + _chunk(b"IEND", b"")
    )


def _encoded(kind: str, seed: int = 2) -> bytes:
    stream = io.BytesIO()
    photograph(seed, 120, 90).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: b"", "is no image"),
        (lambda: b"this is text\n", "is no image"),
        (lambda: b"\xff\xd8\xff\xe0", "is no image"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "is no image"),
        (lambda: _encoded("JPEG")[:-500], "is cut off"),
        (lambda: _encoded("PNG")[: len(_encoded("PNG")) // 2], "is cut off"),
        (lambda: _encoded("WEBP")[:-200], ""),
        (lambda: _huge_png(20_000), "has more than 134217728 pixels (a decompression bomb?)"),
        (lambda: _huge_png(60_000), "has more than 134217728 pixels (a decompression bomb?)"),
        (lambda: _huge_png(2**31 - 1), "has more than 134217728 pixels (a decompression bomb?)"),
        (lambda: _huge_png(64), ""),
    ],
    ids=["empty", "text", "four bytes", "eps", "jpeg", "png", "webp", "400 MP", "3.6 GP", "2^62", "short data"],
)
def test_bad_files_are_named_with_the_reason(tmp_path: Path, make: Callable[[], bytes], wanted: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(make())
    told = reason(path)
    assert told == wanted or (not wanted and told.startswith(("is ", "cannot be decoded: ")))
    assert "\n" not in told


def test_a_link_to_nothing_and_a_kind_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(".git/annex/objects/xx/K.png")
    (tmp_path / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert reason(tmp_path / "a.png") == "is a link to nothing"
    assert reason(tmp_path / "b.HEIC") == "is of a kind that is not read (.heic)"


def test_a_file_that_is_no_file(tmp_path: Path) -> None:
    """A named pipe would be waited for, for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "is no regular file"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"])
def test_damaged_files_are_refused_or_decoded_never_worse(tmp_path: Path, kind: str) -> None:
    """Seeded damage: what the check lets pass, decode gives as RGB of the size that the manifest tells."""
    whole, chance = _encoded(kind), random.Random(kind)
    for number in range(40):
        damaged = bytearray(whole[: chance.randrange(1, len(whole) + 1)])
        for _ in range(chance.randrange(4)):
            damaged[chance.randrange(min(len(damaged), 200 if number % 2 else 1 << 30))] = chance.randrange(256)
        path = tmp_path / f"{number}.img"
        path.write_bytes(damaged)
        manifest, bad = read(path)
        assert len(bad) + len(manifest.images) == 1
        for entry in manifest.images:
            assert decode(path).size == (entry.width, entry.height)
            assert decode(path, 16).mode == "RGB"


def test_good_and_bad_keep_their_order(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{number}.png", photograph(number, 8, 8)) for number in range(6)]
    paths[1].write_text("text")
    paths[4].write_text("")
    seen: list[int] = []
    manifest, bad = read_manifest(paths, lambda _: None, 3, seen.append)
    assert [entry.path for entry in manifest.images] == ["0.png", "2.png", "3.png", "5.png"]
    assert [one.path for one in bad] == [paths[1], paths[4]]
    assert seen == [1] * 6


# the manifest


def test_the_identity_is_of_order_content_and_relative_path(tmp_path: Path) -> None:
    def folder(name: str, seeds: dict[str, int]) -> list[Path]:
        return [saved(tmp_path / name / path, photograph(seed, 8, 8)) for path, seed in seeds.items()]

    paths = folder("one", {"a.png": 1, "b.png": 2, "c/d.png": 3})
    wanted = read(*paths)[0].identity
    assert read(*folder("two", {"a.png": 1, "b.png": 2, "c/d.png": 3}))[0].identity == wanted
    others = [
        read(paths[1], paths[0], paths[2])[0],
        read(*paths[:2])[0],
        read(*folder("three", {"a.png": 1, "b.png": 9, "c/d.png": 3}))[0],
        read(*folder("four", {"a.png": 1, "x.png": 2, "c/d.png": 3}))[0],
        read(*folder("five", {"a.png": 1, "b.png": 2, "d.png": 3}))[0],
    ]
    assert len({wanted, *(other.identity for other in others)}) == 6


def test_what_is_known_is_not_read_again_and_takes_its_new_place(tmp_path: Path) -> None:
    path = saved(tmp_path / "below" / "a.png", photograph(1, 8, 9))
    other = saved(tmp_path / "b.png", photograph(2, 8, 8))
    known = ImageEntry("elsewhere/a.png", "0" * 64, 7, 8, 9)
    manifest, _ = read_manifest([path, other], lambda asked: known if asked == path else None, 1, lambda _: None)
    assert manifest.images[0] == ImageEntry("below/a.png", "0" * 64, 7, 8, 9)
    assert (manifest.images[1].width, manifest.images[1].bytes) == (8, other.stat().st_size)


def test_checking_in_threads_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    import warnings

    paths = [saved(tmp_path / f"{number}.png", photograph(number, 8, 8)) for number in range(30)]
    before = list(warnings.filters)
    for _ in range(5):
        read_manifest(paths, lambda _: None, 8, lambda _: None)
    assert warnings.filters == before
