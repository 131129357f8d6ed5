"""The readers of ground truths, each on a made tree of the exact layout; names of ids; classes; labels of nodes."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.commands.segment.command import DATASETS
from alignedcut_cli.datasets.class_names import read_names
from alignedcut_cli.datasets.classes import FIGURE_GROUND, figure_ground, find_classes, parse_ids, void_alone
from alignedcut_cli.datasets.masks_voc import VOC_CLASSES, open_voc
from alignedcut_cli.datasets.open_masks import MASK_READERS, open_masks
from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError, UnavailableError, UsageError
from tests.conftest import Cli
from tests.helpers.coco import write_instances, write_panoptic

HEIGHT, WIDTH = 6, 9
NAMES = ("2007_000033", "2007_000042", "2008_000123")


def mask(number: int, most: int = 20) -> np.ndarray:
    """A mask of class ids, with void along its upper edge where there is any."""
    found = np.random.default_rng(number).integers(0, most + 1, (HEIGHT, WIDTH)).astype(np.uint8)
    if most > 1:
        found[0] = 255
    return found


def voc_palette() -> bytes:
    """The colour map of the VOC development kit: bits of the id, from the top of each channel down."""
    table = np.zeros((256, 3), np.uint8)
    for number in range(256):
        for bit in range(8):
            for channel in range(3):
                table[number, channel] |= ((number >> (3 * bit + channel)) & 1) << (7 - bit)
    return table.tobytes()


def save_palette(path: Path, labels: np.ndarray) -> None:
    image = Image.new("P", labels.shape[::-1])
    image.frombytes(labels.tobytes())
    image.putpalette(voc_palette())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_folder(root: Path) -> tuple[Path, list[str], list[np.ndarray]]:
    for number, name in enumerate(NAMES):
        save_palette(root / f"{name}.png", mask(number))
    return root, [f"{name}.jpg" for name in NAMES], [mask(number) for number in range(3)]


def make_voc(root: Path) -> tuple[Path, list[str], list[np.ndarray]]:
    """VOCdevkit/VOC2012 with three segmented photographs and one that is not, in train and val."""
    tree = root / "VOCdevkit/VOC2012"
    (tree / "JPEGImages").mkdir(parents=True)
    for number, name in enumerate([*NAMES, "2007_009999"]):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tree / f"JPEGImages/{name}.jpg")
        if number < 3:
            save_palette(tree / f"SegmentationClass/{name}.png", mask(number))
            save_palette(tree / f"SegmentationObject/{name}.png", mask(number) % 3)
    lists = tree / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for split, names in (("train", NAMES[:1]), ("val", NAMES[1:]), ("trainval", NAMES)):
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root, [f"{name}.jpg" for name in NAMES], [mask(number) for number in range(3)]


def make_imagenet(root: Path, count: int = 3) -> tuple[Path, list[str], list[np.ndarray]]:
    """gtsegs_ijcv.mat as MATLAB 7.3 saves a struct array `value`: references, arrays column by column."""
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "gtsegs_ijcv.mat", "w") as opened:
        references = opened.create_group("#refs#")
        fields = {name: np.empty((count, 1), h5py.ref_dtype) for name in ("img", "gt", "id")}
        for number in range(count):
            image = references.create_dataset(f"i{number}", data=picture(number).transpose(2, 1, 0))
            truth = references.create_dataset(f"g{number}", data=mask(number, 1).T)
            cell = references.create_dataset(f"c{number}", data=np.array([[truth.ref]], h5py.ref_dtype))
            name = references.create_dataset(f"n{number}", data=np.array([[110], [48 + number]], np.uint16))
            fields["img"][number, 0], fields["gt"][number, 0], fields["id"][number, 0] = image.ref, cell.ref, name.ref
        for name, values in fields.items():
            opened.create_dataset(f"value/{name}", data=values, dtype=h5py.ref_dtype)
    return (
        root / "gtsegs_ijcv.mat",
        [f"{number:05d}.png" for number in range(count)],
        [mask(n, 1) for n in range(count)],
    )


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(100 + number).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def make_panoptic(root: Path) -> tuple[Path, list[str], list[np.ndarray]]:
    masks = [mask(number) for number in range(3)]
    write_panoptic(root / "panoptic_val2017.json", NAMES, masks, dict(enumerate(VOC_CLASSES)))
    return root, [f"{name}.jpg" for name in NAMES], masks


def make_instances(root: Path) -> tuple[Path, list[str], list[np.ndarray]]:
    masks = [mask(number) for number in range(3)]
    file = root / "annotations/instances_val2017.json"
    write_instances(file, NAMES, masks, dict(enumerate(VOC_CLASSES)))
    return root, [f"{name}.jpg" for name in NAMES], masks


Maker = Callable[[Path], tuple[Path, list[str], list[np.ndarray]]]
MAKERS: dict[str, Maker] = {
    "folder": make_folder,
    "voc": make_voc,
    "imagenet-seg": make_imagenet,
    "coco-panoptic": make_panoptic,
    "coco-instances": make_instances,
}


def entries(names: list[str], width: int = WIDTH) -> list[dict[str, Any]]:
    return [{"path": name, "width": width, "height": HEIGHT} for name in names]


def test_every_reader_is_an_option_and_has_a_made_tree() -> None:
    assert tuple(MASK_READERS) == DATASETS == tuple(MAKERS)


# every reader


@pytest.mark.parametrize("dataset", MASK_READERS)
def test_masks_are_read_as_they_were_written(dataset: str, tmp_path: Path) -> None:
    path, names, wanted = MAKERS[dataset](tmp_path / "data")
    masks = open_masks(dataset, path, None, None)
    images = entries(names)
    keys = masks.match(images)
    for image, key, one in zip(images, keys, wanted, strict=True):
        assert key is not None
        found = masks.read(key, image)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, one)
    assert set(keys) == set(masks.keys)
    assert masks.match(entries(["stranger.png", names[1], "below/" + names[0]])) == [None, keys[1], keys[0]]


@pytest.mark.parametrize("dataset", MASK_READERS)
def test_another_size_is_refused(dataset: str, tmp_path: Path) -> None:
    path, names, _ = MAKERS[dataset](tmp_path / "data")
    masks = open_masks(dataset, path, None, None)
    image = entries(names, WIDTH + 1)[0]
    with pytest.raises(DataError, match="is 9 x 6, its image 10 x 6") as caught:
        masks.read(str(masks.match([image])[0]), image)
    assert caught.value.code == "bad-mask"


@pytest.mark.parametrize("dataset", MASK_READERS)
def test_nothing_there(dataset: str, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputMissingError) as caught:
            open_masks(dataset, path, None, None)
        assert caught.value.code == "masks-missing"


@pytest.mark.parametrize("dataset", MASK_READERS)
def test_two_images_cannot_share_a_mask(dataset: str, tmp_path: Path) -> None:
    path, names, _ = MAKERS[dataset](tmp_path / "data")
    with pytest.raises(DataError, match="would share") as caught:
        open_masks(dataset, path, None, None).match(entries([f"a/{names[0]}", f"b/{names[0]}"]))
    assert caught.value.code == "mask-shared"


@pytest.mark.parametrize("dataset", MASK_READERS)
def test_options_of_other_readers_are_refused(dataset: str, tmp_path: Path) -> None:
    path, _, _ = MAKERS[dataset](tmp_path / "data")
    reader = MASK_READERS[dataset]
    (tmp_path / "names.txt").write_text("background\nthing\n")
    split, names, suffix = ("val", None), (None, tmp_path / "names.txt"), (None, None, "")
    for used, arguments in ((reader.split, split), (reader.names, names), (reader.mask_suffix, suffix)):
        if used:
            open_masks(dataset, path, *arguments)
        else:
            with pytest.raises(UsageError):
                open_masks(dataset, path, *arguments)


# PASCAL VOC


def test_voc_splits_names_and_roots(tmp_path: Path) -> None:
    make_voc(tmp_path)
    for root in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit/VOC2012"):
        assert open_voc(root).keys == NAMES
    assert open_voc(tmp_path, "val").keys == NAMES[1:]
    assert len(VOC_CLASSES) == 21
    assert open_voc(tmp_path).names[15] == "person"
    with pytest.raises(UsageError, match=r"has no test\.txt"):
        open_voc(tmp_path, "test")


def test_voc_trees_that_lack_something(tmp_path: Path) -> None:
    make_voc(tmp_path)
    tree = tmp_path / "VOCdevkit/VOC2012"
    (tree / f"JPEGImages/{NAMES[2]}.jpg").unlink()
    with pytest.raises(DataError, match=f"lacks the photographs of {NAMES[2]}") as caught:
        open_voc(tmp_path)
    assert (caught.value.code, caught.value.exit_status) == ("mask-alone", 65)
    (tree / f"SegmentationClass/{NAMES[1]}.png").unlink()
    with pytest.raises(InputMissingError, match=NAMES[1]):
        open_voc(tmp_path)
    (tree / "ImageSets/Segmentation/trainval.txt").unlink()
    with pytest.raises(UsageError) as split:
        open_voc(tmp_path)
    assert split.value.remedy == "Give one of: train, val"


# ImageNet-segmentation


def test_images_are_known_by_their_number(tmp_path: Path) -> None:
    path, _, _ = make_imagenet(tmp_path, 12)
    masks = open_masks("imagenet-seg", path.parent, None, None)
    assert masks.match(entries(["2.png", "00011.jpg", "n02.png", "12.png"])) == ["2", "11", None, None]


def test_photographs_are_unpacked_and_then_segmentable(cli: Cli, tmp_path: Path) -> None:
    path, names, _ = make_imagenet(tmp_path / "data")
    command = ("segment", "--dataset", "imagenet-seg", "--masks", path, "--unpack", tmp_path / "out", "-q", "--json")
    assert cli(*command, "--dry-run").object["inputs"] == [str(path)]
    assert not (tmp_path / "out").exists()
    assert cli(*command).object == {"schema": "alignedcut.unpacked/1", "folder": str(tmp_path / "out"), "images": 3}
    for number, name in enumerate(names):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / name)), picture(number))


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", b"\x89HDF\r\n\x1a\n" + bytes(90)])
def test_what_is_no_hdf5(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "gtsegs_ijcv.mat").write_bytes(content)
    with pytest.raises(DataError, match="is not laid out as"):
        open_masks("imagenet-seg", tmp_path, None, None)


def test_other_hdf5_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.mat", "w") as opened:
        opened.create_dataset("value/gt", data=np.zeros((2, 1)))
    masks = open_masks("imagenet-seg", tmp_path / "other.mat", None, None)
    with pytest.raises(DataError, match="is not laid out as"):
        masks.load("0")


def test_cut_off_files_are_refused(tmp_path: Path) -> None:
    path, _, _ = make_imagenet(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        with pytest.raises(AlignedcutError) as caught:
            load_all(path)
        assert caught.value.code == "bad-mask"


def load_all(path: Path) -> list[np.ndarray]:
    masks = open_masks("imagenet-seg", path, None, None)
    return [masks.load(key) for key in masks.keys]


def test_without_h5py_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, _ = make_imagenet(tmp_path)
    found = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnavailableError, match="needs the package h5py") as caught:
        open_masks("imagenet-seg", path, None, None)
    assert (caught.value.exit_status, "pip install" in caught.value.remedy) == (69, True)


# names


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '["sky", "dog"]'),
        ("a.json", '{"0": "sky", "1": "dog"}'),
        ("a.json", '{"0": {"name": "sky"}, "1": {"name": "dog", "isthing": 1}}'),
        ("a.json", '{"kind": ["x"], "here": ["sky", "dog"]}'),
        ("a.txt", "sky\ndog\n"),
        ("a.txt", "0 sky\n\n1\tdog\n"),
        ("a.txt", "0: sky\n1: dog\n"),
    ],
)
def test_names_in_every_form(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_names(tmp_path / name, "here") == {0: "sky", 1: "dog"}


@pytest.mark.parametrize("text", ["", "3", '"a"', '{"a": "b"}', "[1]", "{", '{"0": {}}', "[" * 100_000])
def test_names_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(DataError) as caught:
        read_names(tmp_path / "names.json")
    assert caught.value.code == "bad-names"


def test_names_are_found_in_the_folder(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "names.json").write_text(json.dumps(VOC_CLASSES))
    assert open_masks("folder", tmp_path, None, None).names[3] == "bird"


# classes


def test_lists_of_ids() -> None:
    assert parse_ids("--ignore", "0, 3,90-92") == (0, 3, 90, 91, 92)
    assert parse_ids("--ignore", "none") == ()
    for text in ("", "a", "3-", "-3", "5-3", "0-99999999", "99999999999", "1,,2"):
        with pytest.raises(UsageError, match="--ignore"):
            parse_ids("--ignore", text)


def test_classes_and_their_labels() -> None:
    ids = np.array([[0, 4, 9], [255, 12, 4]])
    found = find_classes([0, 4, 9, 12, 255], {4: "cat", 9: "dog"})
    assert (found.ids, found.names, found.background) == ((0, 4, 9, 12), ("background", "cat", "dog", "12"), 0)
    assert found.labels(ids).tolist() == [[0, 1, 2], [-1, 3, 1]]
    assert figure_ground(found).labels(ids).tolist() == [[0, 1, 1], [-1, 1, 1]]
    assert figure_ground(found).title == FIGURE_GROUND
    chosen = find_classes([0, 4, 9, 12, 255], {}, chosen=[9])
    assert (chosen.ids, chosen.labels(ids).tolist()) == ((0, 9), [[0, 0, 1], [-1, 0, 0]])
    stuff = find_classes([0, 4, 9, 12, 255], {}, background=(9, 12, 13), ignore=(0, 255))
    assert (stuff.ids, stuff.labels(ids).tolist()) == ((9, 4), [[-1, 1, 0], [-1, 0, 1]])
    bare = find_classes([4, 9], {})
    assert (bare.ids, bare.background) == ((4, 9), None)


def test_masks_of_two_ids_of_which_one_is_void() -> None:
    with pytest.raises(DataError, match="their only other id, 255, is void by --ignore") as caught:
        find_classes([0, 255], {})
    assert caught.value.remedy == "If 255 is a class, such as figure, give --ignore none"
    with pytest.raises(DataError) as caught:
        find_classes([0], {})
    assert "--ignore none" not in caught.value.remedy
    masks = [np.array([[0, 255]]), np.array([[0, 0]])]
    assert void_alone(masks, 0, 255) == (
        "Their only other id, 255, is void by --ignore: if it is figure, give another id, such as --ignore 1"
    )
    assert void_alone(masks, 0, 7) is None
    assert void_alone([*masks, np.array([[3]])], 0, 255) is None


def test_an_imagenet_file_that_declares_more_masks_than_it_can_hold(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "gtsegs_ijcv.mat", "w") as opened:
        opened.create_dataset("value/gt", (1 << 40, 1), h5py.ref_dtype, chunks=(1, 1))
    with pytest.raises(DataError, match=f"value/gt declares {1 << 40} cells"):
        open_masks("imagenet-seg", tmp_path, None, None)
