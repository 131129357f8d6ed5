"""`align` with a table as a spreadsheet writes it fits what it fits with a plain one, and says what was read how."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from alignedcut_cli.store.project import Project
from tests.conftest import Cli
from tests.helpers.aligning import FIRST, image_entries, image_names, make_world, responses_to, write_made


def test_a_table_of_a_spreadsheet_gives_what_a_plain_one_gives(cli: Cli, tmp_path: Path) -> None:
    """Semicolons, decimal commas, row numbers, a lost trial, other extensions and decomposed names change nothing."""
    world = make_world(tmp_path)
    names = [f"Brücke {name}" for name in image_names()]
    write_made(Project(world / "study"), "bridges", FIRST, image_entries(names, image_names()))
    plain, odd = world / "plain.csv", world / "odd.csv"
    values = responses_to(image_names())
    channels = [f"v{channel}" for channel in range(values.shape[1])]
    lines = [",".join([name, *(f"{value:.5f}" for value in row)]) for name, row in zip(names, values, strict=True)]
    plain.write_text("\n".join([",".join(["image", *channels]), *lines]), encoding="utf-8")
    renamed = [line.replace(".png", ".JPG").replace(",", ";").replace("0.", "0,").replace(".", ",") for line in lines]
    renamed = [unicodedata.normalize("NFD", line.replace(",JPG", ".JPG")) for line in renamed]
    renamed.insert(7, "gone.png" + ";NA" * values.shape[1])
    counted = [f"{row};{line}" for row, line in enumerate(renamed)]
    odd.write_text("\n".join([";".join(["", "Image_File", *channels]), *counted]), encoding="utf-8-sig")
    place = ("--from", "bridges", "-p", world / "study", "--no-pictures", "--epochs", 1)
    fitted = cli("align", "--brain", plain, *place, "--name", "plain")
    run = cli("align", "--brain", odd, *place, "--name", "odd")
    assert (fitted.status, run.status) == (0, 0), run.err
    for note in (
        "read as UTF-8 with a byte-order mark, semicolons between cells, decimal commas",
        "column 1 has no name and holds row numbers: left out",
        "1 of 41 rows left out, which lack more than half of their numbers: gone.png",
        "40 images are matched but for their extension: ",
    ):
        assert note in run.err and note not in fitted.err
    expected, found = (load_file(one.out.strip()) for one in (fitted, run))
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
