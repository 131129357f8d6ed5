"""Pictures are drawn once, and again where one is gone or was cut short."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from alignedcut_cli.frame.pictures import MARKER, draw_once
from alignedcut_cli.report.sheets import save_picture
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.project import Project

NAMES = ("one.png", "below/two.png")


def drawn(folder: Path, wanted: dict[str, object]) -> bool:
    """Whether `draw_once` drew."""
    drawings: list[str] = []

    def draw() -> None:
        for name in NAMES:
            save_picture(Image.new("RGB", (4, 4)), folder / name)
            drawings.append(name)

    project = Project(folder.parents[2])
    header = Header({"kind": folder.parent.name, "name": folder.name})
    assert project.pictures(header.kind, header.name) == folder
    draw_once(project, header, wanted, draw)
    assert all((folder / name).stat().st_size for name in NAMES)
    return bool(drawings)


def older(folder: Path) -> None:
    """The record as it was before it held sizes."""
    (folder / MARKER).write_text(json.dumps({"wanted": {"content": 1}, "files": list(NAMES)}))


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "below/two.png").unlink(),
        lambda folder: (folder / "one.png").write_bytes(b""),
        lambda folder: (folder / MARKER).write_text("{"),
        older,
    ],
)
def test_pictures_are_drawn_again_where_one_is_not_whole(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = tmp_path / "pictures/color/x"
    assert drawn(folder, {"content": 1})
    (folder / "a note of the user's.txt").write_text("stays")
    assert not drawn(folder, {"content": 1})
    harm(folder)
    assert drawn(folder, {"content": 1})
    assert not drawn(folder, {"content": 1})
    assert drawn(folder, {"content": 2})


def test_the_disk_is_waited_for_once_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the record and its folder: a wait for each of hundreds of small pictures takes longer than drawing them."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert drawn(tmp_path / "pictures/color/x", {})
    assert len(synced) == 2


@pytest.mark.parametrize(
    "marker", ["", "[]", "3", "{}", '{"wanted": {"a": 1}}', '{"wanted": {"a": 1}, "files": [3]}', "[" * 99_999]
)
def test_a_damaged_marker_is_drawn_over(tmp_path: Path, marker: str) -> None:
    folder = tmp_path / "pictures/color/x"
    assert drawn(folder, {"a": 1})
    (folder / MARKER).write_text(marker)
    assert drawn(folder, {"a": 1})
    assert not drawn(folder, {"a": 1})
