"""A page in the store: it holds its own header, and what was truncated or changed is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignedcut_cli.errors import AlignedcutError
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.page import page_content, read_page, write_page
from alignedcut_cli.store.project import Project

RECIPE = Recipe("reports", "r", 1, {"title": "</script><script>alert(1)</script>"})


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = Project(tmp_path).create().path("reports", "r")
    header = write_page(
        path, RECIPE, "<title>x</title></head><body>ä</body></html>\n", axes={}, numerics={}, parents=()
    )
    assert header.raw == read_page(path).raw
    return path


def test_a_page_is_html_whose_header_nothing_can_leave(written: Path, tmp_path: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>\n")
    assert text.count("<script") == 1 and text.count("</script>") == 1
    assert read_page(written).params == RECIPE.params
    assert page_content(written) == read_page(written).content
    assert Project(tmp_path).names("reports") == ["r"]
    assert Project(tmp_path).parse("reports/r.html") == Project(tmp_path).parse(str(written)) == ("reports", "r")
    assert list(check_project(Project(tmp_path), deep=True)) == []


def test_the_same_recipe_gives_the_same_bytes(written: Path) -> None:
    before = written.read_bytes()
    write_page(written, RECIPE, "<title>x</title></head><body>ä</body></html>\n", axes={}, numerics={}, parents=())
    assert written.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[:-3], "artifact-truncated"),
        (lambda data: data + b"x", "artifact-corrupt"),
        (lambda data: data.replace(b'"name":"r"', b'"name":"s"'), "artifact-corrupt"),
        (lambda data: data.replace(b'"bytes":', b'"bytez":'), "artifact-corrupt"),
        (lambda data: data[:50], "artifact-foreign"),
        (lambda data: data[:300], "artifact-foreign"),
        (lambda _: b"<html>another's page</html>", "artifact-foreign"),
        (lambda _: b"", "artifact-foreign"),
    ],
)
def test_a_changed_page_is_told(written: Path, tmp_path: Path, change: object, code: str) -> None:
    written.write_bytes(change(written.read_bytes()))  # type: ignore[operator]
    with pytest.raises(AlignedcutError) as caught:
        read_page(written)
    assert caught.value.code == code
    assert [one.code for one in check_project(Project(tmp_path), deep=False)] == [code]


def test_a_flipped_byte_of_the_page_is_found_by_check_deep(written: Path, tmp_path: Path) -> None:
    data = bytearray(written.read_bytes())
    data[-12] ^= 1
    written.write_bytes(bytes(data))
    read_page(written)
    assert list(check_project(Project(tmp_path), deep=False)) == []
    assert [one.code for one in check_project(Project(tmp_path), deep=True)] == ["artifact-corrupt"]


def test_a_folder_called_reports_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    with pytest.raises(AlignedcutError, match="holds no alignedcut project"):
        Project(tmp_path).require_project()
