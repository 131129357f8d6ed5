"""Classes joined by a map: COCO-Stuff's 27 against COCO's own categories, and files of users, good and bad."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.datasets.class_map import joined_classes, read_class_map
from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.errors import DataError, InputMissingError

MASK = np.array([[0, 1, 2], [3, 9, 255]])


def masks() -> MaskSet:
    return MaskSet(Path("here"), ("a",), lambda _: MASK, {1: "car", 2: "bus", 3: "cat"})


def test_the_shipped_map_has_171_classes_in_27() -> None:
    found = read_class_map("coco-stuff-27")
    assert len([one for one in found if isinstance(one, int) and one <= 182]) == 171
    assert len(set(found.values())) == 27 and (found[1], found[182]) == ("person", "solid")


@pytest.mark.real
def test_the_shipped_map_is_that_of_cocos_categories(real: Path) -> None:
    found = read_class_map("coco-stuff-27")
    for number, entry in json.loads((real / "coco/categories.json").read_text()).items():
        kind, thing = entry["supercategory"], entry["isthing"]
        wanted = f"{kind}-things" if thing and kind in ("food", "furniture") else kind
        assert found[int(number)] == wanted, entry["name"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.csv", "id,class\n1,vehicle\n2,vehicle\n3,animal\n"),
        ("map.csv", "# mine\ncar, vehicle\nbus, vehicle\ncat, animal\n"),
        ("map.json", '{"1": "vehicle", "bus": "vehicle", "3": "animal"}'),
    ],
)
def test_classes_are_joined_by_id_and_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    joined = joined_classes(masks(), read_class_map(str(tmp_path / name)))
    assert joined.names == {1: "vehicle", 2: "animal"}
    assert joined.load("a").tolist() == [[255, 1, 1], [2, 255, 255]]


def test_names_that_the_masks_lack_are_told() -> None:
    joined = joined_classes(masks(), {"car": "vehicle", "tram": "vehicle"})
    assert joined.notes == ["the masks have no class called tram"]
    assert joined.load("a").tolist() == [[255, 1, 255], [255, 255, 255]]
    with pytest.raises(DataError, match="no class called tram"):
        joined_classes(masks(), {"tram": "vehicle"})


def test_many_classes_leave_the_number_of_void_out() -> None:
    joined = joined_classes(masks(), {number: f"class {number}" for number in range(300)})
    assert 255 not in joined.names and len(joined.names) == 300 and joined.load("a")[1, 2] == 256 + 255


@pytest.mark.parametrize(
    "text",
    ["", "1\n", "1,a,b\n", "1,\n", "1,a\n1,b\n", '{"1": 2}', '{"1": ""}', "{", "\x00\xff"],
)
def test_what_is_no_map_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"map\.csv") as caught:
        read_class_map(str(tmp_path / "map.csv"))
    assert caught.value.code == "bad-map" and "\n" not in str(caught.value)
    with pytest.raises(InputMissingError, match="is no file"):
        read_class_map(str(tmp_path / "none.csv"))
