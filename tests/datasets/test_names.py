"""Names that look alike are equal, in whichever Unicode form they were written."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from alignedcut_cli.datasets.names import find_in_any_form, same_form

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Brücke é.png") for form in ("NFC", "NFD"))


def test_one_form_for_all() -> None:
    assert COMPOSED != DECOMPOSED
    assert same_form(COMPOSED) == same_form(DECOMPOSED) == COMPOSED
    assert same_form("raw-\udcff.png") == "raw-\udcff.png"


@pytest.mark.parametrize(("there", "asked"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), (COMPOSED, COMPOSED)])
def test_a_path_is_found_in_the_form_that_the_disk_has(tmp_path: Path, there: str, asked: str) -> None:
    made = tmp_path / there.removesuffix(".png") / there
    made.parent.mkdir()
    made.touch()
    assert find_in_any_form(tmp_path / asked.removesuffix(".png") / asked) == made
    assert find_in_any_form(made / asked) is None
    assert find_in_any_form(tmp_path / "Brucke.png") is None
    assert find_in_any_form(Path("é\0")) is None
