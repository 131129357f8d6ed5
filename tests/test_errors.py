"""What an error says: one printable line of a bearable length, whatever the names in it are."""

from __future__ import annotations

import pytest

from alignedcut_cli.errors import DataError, printable
from alignedcut_cli.frame.output import Output, table


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Größe 'a b'.png", "Größe 'a b'.png"),
        ("a\nb\r\t", r"a\nb\r\t"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("half \ud800", r"half \ud800"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\0", r"\x00"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_control_characters_are_escaped(text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = DataError("odd", text, text)
    assert printable(text) == error.message == error.remedy == str(error) == table([[text]]) == told
    Output("brain").note(text)
    assert capsys.readouterr().err == f"alignedcut brain: {told}\n"


def test_long_names_are_cut_in_the_middle() -> None:
    message = DataError("odd", "/folder/" + "x" * 70_000 + " is no image", "Do").message
    assert len(message) < 2_000 and message.startswith("/folder/xxx") and message.endswith("xxx is no image")
