"""Pictures are drawn once, and again where what says so is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignedcut_cli.frame.pictures import MARKER, draw_once


@pytest.mark.parametrize(
    "marker", ["", "[]", "3", "{}", '{"wanted": {"a": 1}}', '{"wanted": {"a": 1}, "files": [3]}', "[" * 99_999]
)
def test_a_damaged_marker_is_drawn_over(tmp_path: Path, marker: str) -> None:
    drawn: list[int] = []

    def draw() -> None:
        drawn.append(1)
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures/a.png").touch()

    draw_once(tmp_path / "pictures", {"a": 1}, draw)
    draw_once(tmp_path / "pictures", {"a": 1}, draw)
    assert len(drawn) == 1
    (tmp_path / "pictures" / MARKER).write_text(marker)
    draw_once(tmp_path / "pictures", {"a": 1}, draw)
    assert len(drawn) == 2
