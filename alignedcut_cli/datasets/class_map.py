"""Classes merged by a map: from the ids or names of a ground truth to coarser classes, such as COCO-Stuff's 27."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from alignedcut_cli.datasets.class_lines import as_id
from alignedcut_cli.datasets.mask_sets import MaskSet, named
from alignedcut_cli.errors import DataError, InputMissingError, first_line
from alignedcut_cli.store.files import disk_errors

__all__ = ["SHIPPED", "VOID", "joined_classes", "read_class_map"]

VOID = 255
SHIPPED = {"coco-stuff-27": Path(__file__).with_name("coco-stuff-27.csv")}
"""Maps shipped with the package: COCO's ids 1 to 200, of things, stuff and merged stuff, to the 27 supercategories."""


def read_class_map(place: str) -> dict[int | str, str]:
    """The class of each id or name, from a csv of two columns (`id,class`), a JSON object, or the name of a shipped map.

    Raises InputMissingError if the file is missing, DataError for a line or entry that does not name a class, and for an
    id or name with two.
    """
    path = SHIPPED.get(place, Path(place))
    with disk_errors(path):
        if not path.is_file():
            told = ", ".join(SHIPPED)
            raise InputMissingError("map-missing", f"{path} is no file", f"Give a csv or JSON of classes, or {told}")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise _bad(path, first_line(error)) from None
    return _of_json(path, text) if text.lstrip().startswith("{") else _of_lines(path, text)


def _of_json(path: Path, text: str) -> dict[int | str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"it is no JSON ({first_line(error)})") from None
    if not all(isinstance(value, str) and value.strip() for value in found.values()):
        raise _bad(path, "an entry names no class")
    return {_key(key): value.strip() for key, value in found.items()}


def _of_lines(path: Path, text: str) -> dict[int | str, str]:
    found: dict[int | str, str] = {}
    try:
        rows = [row for row in csv.reader(text.splitlines()) if row and not row[0].startswith("#")]
    except csv.Error as error:
        raise _bad(path, first_line(error)) from None
    if rows and [cell.strip().lower() for cell in rows[0][1:]] == ["class"]:
        rows = rows[1:]
    for row in rows:
        cells = [cell.strip() for cell in row]
        if len(cells) != 2 or not all(cells):
            raise _bad(path, f"{','.join(row)!r:.60} is not an id or name, and its class")
        if found.setdefault(_key(cells[0]), cells[1]) != cells[1]:
            raise _bad(path, f"{cells[0]} has the classes {found[_key(cells[0])]!r} and {cells[1]!r}")
    if not found:
        raise _bad(path, "it is empty")
    return found


def _key(text: str) -> int | str:
    number = as_id(text)
    return text.strip() if number is None else number


def _bad(path: Path, what: str) -> DataError:
    return DataError(
        "bad-map", f"{path}: {what}", 'Give lines such as 3,vehicle or car,vehicle, or JSON {"3": "vehicle"}'
    )


def joined_classes(masks: MaskSet, mapping: Mapping[int | str, str]) -> MaskSet:
    """The same masks with the classes of a map: ids from 1 in the order of the map, 255 (void) for ids that it lacks.

    Keys that are names are those of `masks.names`. Raises DataError if none of the names is known.
    """
    classes = list(dict.fromkeys(mapping.values()))
    ids = {name: number for number, name in enumerate(classes, 1 + VOID if len(classes) >= VOID else 1)}
    by_name = {name: one for one, name in masks.names.items()}
    unknown = [key for key in mapping if isinstance(key, str) and key not in by_name]
    found = {
        by_name[key] if isinstance(key, str) else key: ids[name] for key, name in mapping.items() if key not in unknown
    }
    if not found:
        raise DataError(
            "bad-map", f"{masks.place} has no class called {named(unknown)}", "Give ids, or the masks' names"
        )
    before, after = (np.array(one, np.int64) for one in zip(*sorted(found.items()), strict=True))

    def load(key: str) -> np.ndarray:
        mask = masks.load(key)
        places = np.searchsorted(before, mask).clip(max=len(before) - 1)
        return np.where(before[places] == mask, after[places], VOID)

    notes = [*masks.notes, *([f"the masks have no class called {named(unknown)}"] if unknown else [])]
    return replace(masks, load=load, names={number: name for name, number in ids.items()}, notes=notes)
