"""Ground-truth masks: which PNGs are read, which are refused, and their labels on a grid."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.datasets.images import decode, read_manifest
from alignedcut_cli.datasets.masks_folder import open_folder, read_masks
from alignedcut_cli.datasets.samples import sample_data
from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError

LABELS = np.array([[0, 1, 2, 2], [3, 3, 200, 255], [0, 0, 7, 9]], np.uint8)


def entry(name: str = "a.jpg", width: int = 4, height: int = 3) -> dict[str, Any]:
    return {"path": name, "width": width, "height": height}


def png(width: int, height: int, rows: bytes = b"", depth: int = 8, colour: int = 0) -> bytes:
    """A PNG whose header says what it likes."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    chunks = [*parts, (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def read(folder: Path) -> np.ndarray:
    return read_masks(folder, [entry()])[0]


def palette(labels: np.ndarray) -> Image.Image:
    """A palette picture in which several indices have one colour, as no reader of colours could tell apart."""
    image = Image.fromarray(labels, "L").convert("P")
    image.putdata(labels.reshape(-1).tolist())
    image.putpalette([10, 20, 30] * 256)
    return image


def test_grey_and_palette_pngs_are_read_as_indices(tmp_path: Path) -> None:
    for image in (Image.fromarray(LABELS), palette(LABELS)):
        image.save(tmp_path / "a.png")
        found = read(tmp_path)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, LABELS)


def test_sixteen_bits_and_one_bit(tmp_path: Path) -> None:
    Image.fromarray(LABELS.astype(np.uint16) * 257).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path), LABELS.astype(np.int64) * 257)
    Image.fromarray(LABELS > 2).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path), LABELS > 2)


def test_masks_are_found_by_name_in_the_order_of_the_images(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        Image.new("L", (4, 3), number).save(tmp_path / f"{name}.png")
    found = read_masks(tmp_path, [entry("below/c.jpg"), entry("a.png")])
    assert [int(mask[0, 0]) for mask in found] == [2, 0]


def test_the_masks_of_the_scenes(tmp_path: Path) -> None:
    found = read_masks(sample_data() / "scenes/category", [entry("scene-0003.png", 96, 96)])
    assert found[0].shape == (96, 96)
    assert len(np.unique(found[0])) > 1


def test_extensions_in_any_case(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.PNG", "c.Png")):
        Image.new("L", (4, 3), number).save(tmp_path / name, format="PNG")
    found = read_masks(tmp_path, [entry(f"{name}.jpg") for name in "abc"])
    assert [int(mask[0, 0]) for mask in found] == [0, 1, 2]
    with pytest.raises(DataError, match=r"b\.PNG is 4 x 3, its image 5 x 3"):
        read_masks(tmp_path, [entry("b.jpg", 5)])


def test_two_masks_of_one_name(tmp_path: Path) -> None:
    for first, second in (("a.png", "a.PNG"), ("u\u0308.png", "\u00fc.png")):
        (folder := tmp_path / first).mkdir()
        for name in (first, second):
            Image.new("L", (4, 3)).save(folder / name, format="PNG")
        if len(list(folder.iterdir())) < 2:
            pytest.skip("this file system does not tell the two names apart")
        with pytest.raises(DataError, match="masks of one name") as caught:
            read(folder)
        assert caught.value.code == "mask-twice"
        assert first in caught.value.message and second in caught.value.message


def test_hidden_files_are_passed_over_with_a_note(tmp_path: Path) -> None:
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in ("a.png", ".ipynb_checkpoints/a-checkpoint.png"):
        Image.new("L", (4, 3), 2).save(tmp_path / name)
    (tmp_path / "._a.png").write_bytes(b"what macOS puts beside a file")
    notes: list[str] = []
    assert read_masks(tmp_path, [entry()], notes.append)[0].max() == 2
    assert open_folder(tmp_path).keys == ("a",)
    assert len(notes) == 1 and "masks passed over" in notes[0] and "2 in" in notes[0]


def test_links_are_followed_and_links_to_nothing_named(tmp_path: Path) -> None:
    store, masks = tmp_path / "store", tmp_path / "masks"
    for folder in (store, masks):
        folder.mkdir()
    Image.new("L", (4, 3), 7).save(store / "a.png")
    (masks / "val").symlink_to(store)
    (store / "again").symlink_to(masks)
    (masks / "b.png").symlink_to("../.git/annex/objects/xx/MD5E-s1--0.png")
    assert read_masks(masks, [entry("val/a.jpg")])[0].max() == 7
    with pytest.raises(DataError, match=r"b\.png is a link to nothing") as caught:
        read_masks(masks, [entry("b.jpg")])
    assert caught.value.code == "bad-mask"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_refused(tmp_path: Path, mode: str) -> None:
    for pixel in ((0, 0, 1, 255), (7, 8, 7, 255)):
        image = Image.new(mode, (4, 3))
        image.putpixel((3, 2), pixel[: len(mode)])
        image.putalpha(255) if mode == "RGBA" else None
        image.save(tmp_path / "a.png")
        with pytest.raises(DataError, match=f"a.png has mode {mode}, ") as caught:
            read(tmp_path)
        assert caught.value.code == "bad-mask"


@pytest.mark.parametrize("mode", ["RGB", "LA", "RGBA"])
def test_grey_saved_as_colours_is_read(tmp_path: Path, mode: str) -> None:
    Image.fromarray(LABELS).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path), LABELS)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_are_refused(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(LABELS).convert(mode)
    image.putpixel((2, 1), (9, 254) if mode == "LA" else (9, 9, 9, 254))
    image.save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png has transparent pixels \(alpha below 255\)") as caught:
        read(tmp_path)
    assert caught.value.code == "bad-mask"


def test_a_palette_with_transparent_colours_is_read_as_indices(tmp_path: Path) -> None:
    palette(LABELS).save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read(tmp_path), LABELS)


@pytest.mark.parametrize(("depth", "row"), [(1, [0b01010000]), (2, [0b00011011]), (4, [0x01, 0x7F])])
def test_few_bits_are_ids_and_no_shades(tmp_path: Path, depth: int, row: list[int]) -> None:
    wanted = {1: [0, 1, 0, 1], 2: [0, 1, 2, 3], 4: [0, 1, 7, 15]}[depth]
    (tmp_path / "a.png").write_bytes(png(4, 3, bytes([0, *row]) * 3, depth))
    assert read(tmp_path).tolist() == [wanted] * 3


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_colours_are_refused(tmp_path: Path, colour: int, channels: int) -> None:
    """Pillow cuts them to 8 bits: ids would be lost."""
    (tmp_path / "a.png").write_bytes(png(4, 3, (b"\0" + b"\0\7" * channels * 4) * 3, 16, colour))
    with pytest.raises(DataError, match=r"a\.png has mode .*;16B"):
        read(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_photograph(tmp_path: Path, orientation: int) -> None:
    """By its own tag, in every mode; without one it is upright, or its size does not fit."""
    tag, photograph, file = Image.Exif(), tmp_path / "a.png", tmp_path / "masks/a.png"
    tag[0x0112] = orientation
    file.parent.mkdir()
    colours = Image.fromarray(LABELS).convert("RGB")
    colours.save(photograph, exif=tag)
    (image,) = read_manifest([photograph], lambda path: None, 1, lambda done: None)[0].images
    upright = np.asarray(decode(photograph))[..., 0]
    assert (image.height, image.width) == upright.shape
    for mask in (Image.fromarray(LABELS), palette(LABELS), Image.fromarray(LABELS.astype(np.uint16)), colours):
        mask.save(file, exif=tag)
        np.testing.assert_array_equal(read_masks(file.parent, [image.as_object()])[0], upright)
    Image.fromarray(upright).save(file)
    np.testing.assert_array_equal(read_masks(file.parent, [image.as_object()])[0], upright)
    if orientation >= 5:
        Image.fromarray(LABELS).save(file)
        with pytest.raises(DataError, match="is 4 x 3, its image 3 x 4") as caught:
            read_masks(file.parent, [image.as_object()])
        assert "One of the two was turned" in caught.value.remedy


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"junk", b""]
)
def test_tags_that_cannot_be_read(tmp_path: Path, exif: bytes) -> None:
    """The mask as it is stored, or one refusal."""
    Image.fromarray(LABELS).save(tmp_path / "a.png", exif=exif)
    refusal = None
    try:
        np.testing.assert_array_equal(read(tmp_path), LABELS)
    except DataError as error:
        refusal = error.code
    assert refusal in (None, "bad-mask")


def test_what_is_missing(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(InputMissingError) as caught:
            read(folder)
        assert caught.value.code == "masks-missing"
    Image.new("L", (4, 3)).save(tmp_path / "a.jpg")
    Image.new("L", (4, 3)).save(tmp_path / "b.png")
    with pytest.raises(InputMissingError, match=r"no mask for 1 images, such as a\.jpg"):
        read(tmp_path)


def test_another_size(tmp_path: Path) -> None:
    Image.new("L", (3, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png is 3 x 4, its image 4 x 3"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_png(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("width", "height"), [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (12_000, 12_000), (9_000, 9_000)]
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_small_file_that_says_it_is_enormous_is_not_unpacked(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "a.png").write_bytes(png(width, height, b"\0" * 1000))
    with pytest.raises(DataError) as caught:
        read_masks(tmp_path, [entry("a.jpg", width, height)])
    assert caught.value.code == "bad-mask"


def test_cut_off_anywhere_and_flipped_anywhere(tmp_path: Path) -> None:
    """Whatever a damaged file is, it is refused or read as a mask of the right size: never another exception."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 5, (3, 4), np.uint8))
    image.save(tmp_path / "a.png")
    good = (tmp_path / "a.png").read_bytes()
    damaged = [good[:length] for length in range(len(good) - 12)]
    for place in range(len(good)):
        for bit in (0x01, 0x80):
            changed = bytearray(good)
            changed[place] ^= bit
            damaged.append(bytes(changed))
    refusals, codes = 0, set()
    for content in damaged:
        (tmp_path / "a.png").write_bytes(content)
        try:
            found = read(tmp_path)
        except AlignedcutError as error:
            codes.add(error.code)
            refusals += 1
        else:
            assert found.shape == (3, 4)
    assert codes == {"bad-mask"}
    assert refusals > len(good) - 20


# labels on a grid


def slow_labels(mask: np.ndarray, grid: tuple[int, int]) -> list[list[int]]:
    """The majority of each cell, pixel by pixel, the smaller of equals; cells begin where rounding says."""
    height, width = mask.shape
    found = []
    for row in range(grid[0]):
        found.append([])
        for column in range(grid[1]):
            top, bottom = round(row * height / grid[0]), round((row + 1) * height / grid[0])
            left, right = round(column * width / grid[1]), round((column + 1) * width / grid[1])
            counts = Counter(int(mask[y, x]) for y in range(top, bottom) for x in range(left, right))
            found[-1].append(min(counts, key=lambda one: (-counts[one], one)))
    return found


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_each_cell_has_its_most_frequent_class(data: Any) -> None:
    grid = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    height, width = data.draw(st.integers(grid[0], 23)), data.draw(st.integers(grid[1], 23))
    classes = data.draw(st.integers(1, 4))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, classes, (height, width))
    found = grid_labels(mask, grid)
    assert found.dtype == np.int64
    assert found.tolist() == slow_labels(mask, grid)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (5, 5)])
def test_a_mask_smaller_than_its_grid_gives_the_nearest_pixels(size: tuple[int, int]) -> None:
    mask = np.arange(size[0] * size[1]).reshape(size)
    found = grid_labels(mask, (14, 14))
    assert found.shape == (14, 14)
    assert set(found.reshape(-1).tolist()) <= set(mask.reshape(-1).tolist())
    assert (np.diff(found, axis=0) >= 0).all() and (np.diff(found, axis=1) >= 0).all()


def test_a_grid_as_fine_as_the_mask_is_the_mask() -> None:
    np.testing.assert_array_equal(grid_labels(LABELS.astype(np.int64), (3, 4)), LABELS)
