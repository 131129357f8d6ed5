"""COCO's annotations: segment ids, polygons and run lengths by their definitions, and files that cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from alignedcut_cli.datasets.coco_shapes import covered
from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.datasets.masks_coco import open_instances, open_panoptic
from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError, UsageError
from tests.helpers.coco import content, rgb, runs, squares, write_instances, write_panoptic

NAMES = ("000000000139", "000000000285")
CATEGORIES = {1: "person", 3: "car", 200: "rug-merged"}
MASKS = [np.array([[1, 1, 3], [255, 3, 1]], np.uint8), np.array([[3, 3, 3], [1, 255, 255]], np.uint8)]


# shapes


def test_run_lengths_go_down_the_columns() -> None:
    counts = [1, 2, 3]
    assert covered({"size": [2, 3], "counts": counts}, 2, 3).astype(int).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert covered({"size": [2, 3], "counts": [0, 6]}, 2, 3).all()


def compressed(counts: list[int]) -> str:
    """COCO's text of run lengths, as its format says: the reverse of what is tested, bit by bit."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


def test_compressed_run_lengths() -> None:
    """The text is what pycocotools 2.0.11 gives for this mask."""
    mask = np.arange(12).reshape(3, 4) % 5 < 2
    assert compressed(runs(mask)) == "0121000O"
    np.testing.assert_array_equal(covered({"size": [3, 4], "counts": "0121000O"}, 3, 4), mask)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([0.0, 0.01, 0.5, 1.0]), st.integers(0, 99))
def test_run_lengths_are_the_mask(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    for counts in (runs(mask), compressed(runs(mask))):
        np.testing.assert_array_equal(covered({"size": [height, width], "counts": counts}, height, width), mask)


EDGE = 1e-9
"""Pixels: where a centre lies nearer than this to an edge, rounding alone says on which side."""


def slow_inside(x: float, y: float, points: list[tuple[float, float]]) -> bool | None:
    """Whether a ray to the right of a point crosses an odd number of edges; None where the point lies on one."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 <= y) != (y1 <= y):
            ahead = x0 + (y - y0) * (x1 - x0) / (y1 - y0) - x
            if abs(ahead) < EDGE:
                return None
            crossings += ahead > 0
    return crossings % 2 == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 10)), min_size=3, max_size=9))
@example([(0.00390625, 0.00390625), (5.0, 5.0), (0.0, 0.0)])
def test_a_polygon_holds_the_pixels_whose_centres_are_inside(points: list[tuple[float, float]]) -> None:
    """Stars, points outside the picture and lines without width among them."""
    drawn = [(x / 1.0001 + 1e-7, y / 1.0001 + 1e-7) for x, y in points]
    found = covered([[one for point in drawn for one in point]], 7, 9)
    inside = {(row, column): slow_inside(column + 0.5, row + 0.5, drawn) for row in range(7) for column in range(9)}
    known = {place: one for place, one in inside.items() if one is not None}
    assert {place: bool(found[place]) for place in known} == known


def test_polygons_of_one_instance_are_joined() -> None:
    left, right = [0, 0, 2, 0, 2, 2, 0, 2], [1, 0, 3, 0, 3, 2, 1, 2]
    assert covered([left, right], 3, 4).astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    mask = MASKS[0] == 1
    np.testing.assert_array_equal(covered(squares(mask), *mask.shape), mask)


BAD_SHAPES = [
    None, [], 3, "0121000O", [[]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [["1", "2", "3", "4", "5", "6"]], [None],
    [[1] * 5 + [1e300]], [[1] * 5 + [float("nan")]], [[1] * 5 + [10**400]], {}, {"size": [3, 4]},
    {"size": [3, 4], "counts": [12.0]}, {"size": [4, 3], "counts": [12]}, {"size": [3, 4], "counts": [11]},
    {"size": [3, 4], "counts": [-1, 13]}, {"size": [3, 4], "counts": [10**30]},
    {"size": [10**9, 10**9], "counts": [1]}, {"size": [3, 4], "counts": "o" * 99},
    {"size": [3, 4], "counts": "0121000o"}, {"size": [3, 4], "counts": "é"}, {"size": [3, 4], "counts": "0\n"},
]  # fmt: skip


@pytest.mark.parametrize("shape", BAD_SHAPES)
def test_shapes_that_cannot_be(shape: Any) -> None:
    with pytest.raises(ValueError, match="its "):
        covered(shape, 3, 4)


def test_a_polygon_of_endless_edges_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        covered([[0, 0, 1, 8000] * 10_000], 8000, 8000)


# instances


def instances(path: Path, *annotations: dict[str, Any], size: tuple[int, int] = (4, 6)) -> MaskSet:
    whole = content(NAMES[:1], size, CATEGORIES)
    whole["annotations"] = [
        {"image_id": 100, "iscrowd": 0, "id": place, **one} for place, one in enumerate(annotations)
    ]
    path.write_text(json.dumps(whole))
    return open_instances(path)


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_the_smaller_instance_lies_on_top_and_crowds_below(tmp_path: Path) -> None:
    large = {"category_id": 3, "segmentation": box(0, 0, 4, 4)}
    small = {"category_id": 1, "segmentation": box(1, 1, 3, 3)}
    crowd = {"category_id": 1, "segmentation": {"size": [4, 6], "counts": [20, 4]}, "iscrowd": 1}
    wide = {"category_id": 200, "segmentation": box(3, 3, 6, 4)}
    wanted = [[3, 3, 3, 3, 0, 255], [3, 1, 1, 3, 0, 255], [3, 1, 1, 3, 0, 255], [3, 3, 3, 200, 200, 200]]
    for order in ((large, small, crowd, wide), (crowd, wide, small, large)):
        found = instances(tmp_path / "a.json", *order)
        assert found.load(NAMES[0]).tolist() == wanted
    assert found.names == {0: "background", **CATEGORIES}


def test_an_image_without_instances_is_background(tmp_path: Path) -> None:
    write_instances(tmp_path / "a.json", NAMES, [MASKS[0], np.zeros((2, 3), np.uint8)], CATEGORIES)
    found = open_instances(tmp_path / "a.json")
    assert found.keys == NAMES
    assert not found.load(NAMES[1]).any()


def test_where_instance_files_lie(tmp_path: Path) -> None:
    write_instances(tmp_path / "annotations/instances_val2017.json", NAMES, MASKS, CATEGORIES)
    for path in (tmp_path, tmp_path / "annotations", tmp_path / "annotations/instances_val2017.json"):
        assert open_instances(path).keys == NAMES
    write_instances(tmp_path / "annotations/instances_train2017.json", NAMES, MASKS, CATEGORIES)
    with pytest.raises(UsageError, match=r"holds 2 of instances_\*\.json: instances_train2017\.json, instances_val"):
        open_instances(tmp_path)


# panoptic


def test_where_panoptic_files_lie(tmp_path: Path) -> None:
    root = tmp_path / "beside"
    write_panoptic(root / "panoptic_val2017.json", NAMES, MASKS, CATEGORIES)
    for path in (root, root / "panoptic_val2017", root / "panoptic_val2017.json"):
        found = open_panoptic(path)
        assert (found.keys, found.names) == (NAMES, CATEGORIES)
        np.testing.assert_array_equal(found.load(NAMES[1]), MASKS[1])
    (root / "annotations").mkdir()
    (root / "panoptic_val2017.json").rename(root / "annotations/panoptic_val2017.json")
    for path in (root, root / "panoptic_val2017", root / "annotations/panoptic_val2017.json"):
        np.testing.assert_array_equal(open_panoptic(path).load(NAMES[1]), MASKS[1])
    (root / f"panoptic_val2017/{NAMES[0]}.png").unlink()
    with pytest.raises(InputMissingError, match=f"lacks {NAMES[0]}"):
        open_panoptic(root)
    (root / "panoptic_val2017").rename(root / "elsewhere")
    with pytest.raises(InputMissingError, match="panoptic_val2017 does not exist"):
        open_panoptic(root)


def test_all_three_bytes_count(tmp_path: Path) -> None:
    write_panoptic(tmp_path / "a.json", NAMES[:1], MASKS[:1], CATEGORIES)
    ids = np.array([[1, 256, 65536], [0, (1 << 24) - 1, 65536]])
    Image.fromarray(rgb(ids)).save(tmp_path / f"a/{NAMES[0]}.png")
    whole = json.loads((tmp_path / "a.json").read_text())
    kinds = {1: 1, 256: 3, 65536: 200, (1 << 24) - 1: 1, 77: 3}
    whole["annotations"][0]["segments_info"] = [{"id": one, "category_id": kind} for one, kind in kinds.items()]
    (tmp_path / "a.json").write_text(json.dumps(whole))
    assert open_panoptic(tmp_path / "a.json").load(NAMES[0]).tolist() == [[1, 3, 200], [255, 1, 200]]


def test_segments_that_the_json_lacks(tmp_path: Path) -> None:
    write_panoptic(tmp_path / "a.json", NAMES, MASKS, CATEGORIES)
    Image.fromarray(rgb(np.full((2, 3), 5))).save(tmp_path / f"a/{NAMES[0]}.png")
    Image.fromarray(MASKS[1]).save(tmp_path / f"a/{NAMES[1]}.png")
    found = open_panoptic(tmp_path / "a.json")
    for key, told in zip(NAMES, ("holds segment 5, which its JSON file lacks", "is no RGB picture"), strict=True):
        with pytest.raises(DataError, match=told) as caught:
            found.load(key)
        assert caught.value.code == "bad-mask"


# files that cannot be

HOSTILE = [
    "../../etc/passwd.png", "/etc/passwd.png", "a/../../b.png", "..\\b.png", "", ".", "..", None, 3, [], "a\0.png",
    "\ud800.png", "x" * 300, "a\n.png",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_the_folder(tmp_path: Path, name: Any) -> None:
    write_panoptic(tmp_path / "a.json", NAMES, MASKS, CATEGORIES)
    whole = json.loads((tmp_path / "a.json").read_text())
    for kind in ("annotations", "images"):
        changed = json.loads(json.dumps(whole))
        changed[kind][1]["file_name"] = name
        (tmp_path / "a.json").write_text(json.dumps(changed))
        with pytest.raises(DataError, match="no file below") as caught:
            open_panoptic(tmp_path / "a.json")
        assert caught.value.code == "bad-path"


def put(*path: str | int, value: Any) -> Callable[[Any], None]:
    def change(whole: Any) -> None:
        for one in path[:-1]:
            whole = whole[one]
        whole[path[-1]] = value

    return change


SEGMENT = ("annotations", 0, "segments_info", 0)
EDITS = [
    (("images",), None), (("images",), {}), (("images",), []), (("images",), [3]), (("annotations",), "a"),
    (("categories",), [[]]), (("images", 0, "id"), None), (("images", 0, "id"), []), (("images", 0, "id"), 101),
    (("images", 0, "height"), 0), (("images", 0, "height"), 10**9), (("images", 0, "width"), "9"),
    (("images", 0, "width"), True), (("images", 0, "file_name"), f"{NAMES[1]}.jpg"), (("categories", 0, "id"), -1),
    (("categories", 0, "id"), 10**40), (("categories", 0, "id"), 3), (("categories", 0, "name"), None),
    (("categories", 0, "name"), "\ud800"), (("categories", 0, "name"), "a\nb"), (("annotations", 0, "image_id"), 7),
    (("annotations", 0, "image_id"), {}),
]  # fmt: skip
OWN_EDITS = {
    "panoptic": [
        (("annotations", 1, "image_id"), 100), (("annotations", 0, "segments_info"), None), ((*SEGMENT, "id"), 0),
        ((*SEGMENT, "id"), 1 << 24), ((*SEGMENT, "id"), "1"), ((*SEGMENT, "category_id"), 9),
        ((*SEGMENT, "category_id"), [1]), (SEGMENT, 3),
    ],
    "instances": [(("annotations", 0, "category_id"), 9), (("annotations", 0, "category_id"), None)],
}  # fmt: skip


@pytest.mark.parametrize("kind", OWN_EDITS)
def test_fields_that_cannot_be(tmp_path: Path, kind: str) -> None:
    write, read = {"panoptic": (write_panoptic, open_panoptic), "instances": (write_instances, open_instances)}[kind]
    file = tmp_path / "a.json"
    write(file, NAMES, MASKS, CATEGORIES)
    good = file.read_text()
    for path, value in [*EDITS, *OWN_EDITS[kind]]:
        whole = json.loads(good)
        put(*path, value=value)(whole)
        file.write_text(json.dumps(whole))
        with pytest.raises(DataError, match=r"a\.json") as caught:
            read(file)
        assert caught.value.code == "bad-annotations", (path, value)
    for text in (b"", b"[", b"3", b"[" * 100_000, b"\xff\xfe\xfd", b'{"images": ' + b"9" * 5000 + b"}"):
        file.write_bytes(text)
        with pytest.raises(DataError) as caught:
            read(file)
        assert caught.value.code == "bad-annotations"


def test_the_other_kind_of_annotations(tmp_path: Path) -> None:
    write_panoptic(tmp_path / "a.json", NAMES, MASKS, CATEGORIES)
    write_instances(tmp_path / "b.json", NAMES, MASKS, CATEGORIES)
    (tmp_path / "b").mkdir()
    for read, file, field in ((open_instances, "a", "segmentation"), (open_panoptic, "b", "segments_info")):
        with pytest.raises(DataError, match=f"{file}.json: its annotations have no {field}") as caught:
            read(tmp_path / f"{file}.json")
        assert "coco-panoptic or coco-instances" in caught.value.remedy


def test_shapes_are_named_by_their_annotation(tmp_path: Path) -> None:
    found = instances(tmp_path / "a.json", {"category_id": 1, "segmentation": []})
    with pytest.raises(DataError, match=r"a\.json: annotation 0: its segmentation is neither"):
        found.load(NAMES[0])


@pytest.mark.parametrize(("number", "told"), [(0, "background"), (255, "void")])
def test_categories_with_the_number_of_something_else(tmp_path: Path, number: int, told: str) -> None:
    """They would be scored as what they are not."""
    whole = content(NAMES[:1], (4, 6), {number: "cone"})
    whole["annotations"] = [{"id": 1, "image_id": 100, "category_id": number, "segmentation": box(0, 0, 1, 1)}]
    (tmp_path / "a.json").write_text(json.dumps(whole))
    with pytest.raises(DataError, match=rf"has category {number} \(cone\), a number that stands for {told}"):
        open_instances(tmp_path / "a.json")


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    write_instances(tmp_path / "a.json", NAMES, MASKS, CATEGORIES)
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.json").read_bytes())
    assert open_instances(tmp_path / "a.json").keys == NAMES


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_files_end_in_masks_or_one_error(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Any part of the JSON replaced by any value."""
    kind = data.draw(st.sampled_from(sorted(OWN_EDITS)))
    write, read = {"panoptic": (write_panoptic, open_panoptic), "instances": (write_instances, open_instances)}[kind]
    folder = tmp_path_factory.getbasetemp() / "damaged"
    if not (folder / f"{kind}.json").is_file():
        write(folder / f"{kind}.json", NAMES, MASKS, CATEGORIES)
    whole = part = json.loads((folder / f"{kind}.json").read_text())
    while True:
        key = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if not isinstance(part[key], dict | list) or not part[key] or data.draw(st.integers(0, 4)) == 0:
            break
        part = part[key]
    odd = st.one_of(
        st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(-9, 9), max_size=8)
    )
    part[key] = data.draw(odd)
    changed = folder / "annotations" / f"{kind}.json"
    changed.parent.mkdir(exist_ok=True)
    changed.write_text(json.dumps(whole))
    status = 0
    try:
        found = read(changed)
        assert all(found.load(one).ndim == 2 for one in found.keys)
    except AlignedcutError as error:
        status = error.exit_status
    assert status in (0, 65, 66)
