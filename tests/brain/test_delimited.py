"""Delimited tables as people have them: how they are written, which columns are channels, and what numbers look like."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.brain import Responses, delimited, open_responses
from alignedcut_cli.errors import DataError

PLAIN = "image,x,y\na.png,1.5,-2\nb.png,0.25,4\nc.png,3,1000\n"
VALUES = np.array([[1.5, -2], [0.25, 4], [3, 1000]], np.float32)


def read(folder: Path, text: str | bytes, name: str = "table.csv", encoding: str = "utf-8") -> Responses:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return open_responses(folder / name)


def refusal(folder: Path, text: str | bytes) -> DataError:
    with pytest.raises(DataError) as caught:
        read(folder, text)
    return caught.value


def numbers(folder: Path, *cells: str, separator: str = ";") -> list[float]:
    """What the cells of one channel, written down the rows, are read as; a second channel keeps every row."""
    rows = [f"{row}.png{separator}{cell}{separator}{row}" for row, cell in enumerate(cells)]
    found = read(folder, "\n".join([f"image{separator}x{separator}row", *rows]))
    return found.values[:, 0].tolist()


# how the file is written


@pytest.mark.parametrize(
    ("text", "encoding", "note"),
    [
        (PLAIN, "utf-8", None),
        (PLAIN, "utf-8-sig", "read as UTF-8 with a byte-order mark, commas between cells, decimal points"),
        (PLAIN, "utf-16", "read as UTF-16, commas between cells, decimal points"),
        (PLAIN, "utf-16-le", "read as UTF-16, commas between cells, decimal points"),
        (PLAIN, "utf-16-be", "read as UTF-16, commas between cells, decimal points"),
        (PLAIN, "utf-32", "read as UTF-32, commas between cells, decimal points"),
        (PLAIN.replace(",", "\t"), "utf-8", "read as UTF-8, tabs between cells, decimal points"),
        (PLAIN.replace(",", "\t"), "utf-16", "read as UTF-16, tabs between cells, decimal points"),
        (PLAIN.replace(",", ";"), "utf-8", "read as UTF-8, semicolons between cells, decimal points"),
        ("sep=;\n" + PLAIN.replace(",", ";"), "utf-8", "read as UTF-8, semicolons between cells, decimal points"),
        (PLAIN.replace("\n", "\r\n"), "utf-8", None),
        (PLAIN.replace("\n", "\r"), "utf-8", None),
        ("\n\n" + PLAIN, "utf-8", None),
        (
            PLAIN.replace(",", ";").replace("1.5", "1,5").replace("0.25", "0,25"),
            "utf-8-sig",
            "read as UTF-8 with a byte-order mark, semicolons between cells, decimal commas",
        ),
    ],
)
def test_the_same_table_is_read_however_it_is_written(
    tmp_path: Path, text: str, encoding: str, note: str | None
) -> None:
    for name in ("table.csv", "table.tsv"):
        found = read(tmp_path, text, name, encoding)
        assert found.notes == ((note,) if note else ()) and found.images == ("a.png", "b.png", "c.png")
        np.testing.assert_array_equal(found.values, VALUES)
        assert found.identity == read(tmp_path, PLAIN).identity


def test_latin_1_is_read_with_a_note(tmp_path: Path) -> None:
    found = read(tmp_path, PLAIN.replace("a.png", "Brücke – é.png"), encoding="cp1252")
    assert found.images[0] == "Brücke – é.png"
    assert found.notes == ("read as Windows-1252 (Latin-1), commas between cells, decimal points",)


def test_the_image_column_decides_between_two_separators(tmp_path: Path) -> None:
    found = read(tmp_path, "image;r 0,5;r 1,0\na.png;1,5;2\nb.png;2,5;0\n")
    assert found.values.tolist() == [[1.5, 2], [2.5, 0]]
    refused = refusal(tmp_path, "r 0,5;r 1,0\n1,5;2\n2,5;0\n")
    assert refused.code == "csv-separator" and "commas and semicolons" in refused.message
    assert refusal(tmp_path, 'image,x\n"a";1\n').code == "csv-unreadable"
    assert refusal(tmp_path, "sep=|\nimage|x\na|1\n").code == "csv-separator"


def test_commas_that_separate_and_mark_decimals_are_told(tmp_path: Path) -> None:
    refused = refusal(tmp_path, "image,x,y\na.png,1,5,2,0\nb.png,2,5,0,5\n")
    assert refused.code == "csv-ragged"
    assert refused.message.endswith(
        "5 cells, the header 3: commas seem to separate the cells and to mark decimals, too"
    )


def test_a_file_of_absurd_width_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_MOST_COLUMNS", 100)
    monkeypatch.setattr(delimited, "_LONGEST_LINE", 1000)
    for text in ("," * 200 + "\n", "image,x\n" + "," * 200, "image,x\na,1" + " " * 2000):
        assert refusal(tmp_path, text).code == "too-large"


# which columns are channels


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1", "...1"])
@pytest.mark.parametrize(
    ("cells", "holds"),
    [
        (["0", "1", "2"], "row numbers"),
        (["1", "2", "3"], "row numbers"),
        (["2", "0", "1"], "row numbers"),  # a shuffled table
        (["s1", "s2", "s3"], "row names"),
        (["", " ", ""], "nothing"),
        (["1", "2", "4"], None),
        (["2", "3", "4"], None),
        (["0.5", "1", "2"], None),
        (["0", "1", ""], None),
    ],
)
def test_a_column_without_a_name_is_no_channel_where_it_counts_or_names_rows(
    tmp_path: Path, name: str, cells: list[str], holds: str | None
) -> None:
    lines = [f"{cell},{line}" for cell, line in zip([name, *cells], PLAIN.splitlines(), strict=True)]
    found = read(tmp_path, "\n".join(lines))
    if holds:
        assert found.notes == (f"column 1 has no name and holds {holds}: left out",)
        assert found.identity == read(tmp_path, PLAIN).identity
    else:
        assert found.notes[0] == "column 1 has no name and is read as a channel"
        assert len(found.voxels) + len(found.dropped) == 3
        np.testing.assert_array_equal(found.values[:, -2:], VALUES)


def test_a_column_with_a_name_is_a_channel_whatever_it_holds(tmp_path: Path) -> None:
    found = read(tmp_path, "row,image,x\n0,a,1\n1,b,5\n2,c,3\n")
    assert found.values.tolist() == [[0, 1], [1, 5], [2, 3]] and found.notes == ()


def test_channels_without_a_name_keep_their_places(tmp_path: Path) -> None:
    found = read(tmp_path, "x,,image,,y\n1,7,a,8,2\n3,9,b,4,4\n")
    assert found.values.tolist() == [[1, 7, 8, 2], [3, 9, 4, 4]]
    assert found.notes == ("columns 2, 4 have no name and are read as channels",)
    refused = refusal(tmp_path, ",image,x\n5,a,1\nseven,b,2\n")
    assert refused.message.endswith("line 3, column 1 (which has no name): 'seven' is no number")


def test_what_r_writes(tmp_path: Path) -> None:
    """write.csv and write.csv2, row names of a part of the rows, and write.table, which leaves out their column's name."""
    rows = [("3", "a.png", "1.5", "NA"), ("7", "b.png", "0.25", "4"), ("12", "c.png", "3", "1000")]
    quoted = [f'"{row}","{image}",{x},{y}' for row, image, x, y in rows]
    found = read(tmp_path, "\n".join(['"","image","x","y"', *quoted]))
    assert found.values.tolist() == [[1.5], [0.25], [3]]
    assert found.notes[0] == "column 1 has no name and holds row names: left out"
    again = read(
        tmp_path,
        "\n".join(
            ['"";"image";"x";"y"', *(line.replace(",", ";").replace(".2", ",2").replace(".5", ",5") for line in quoted)]
        ),
    )
    assert again.identity == found.identity
    again = read(tmp_path, "\n".join(['"image"\t"x"\t"y"', *(line.replace(",", "\t") for line in quoted)]), "table.tsv")
    assert again.identity == found.identity
    assert refusal(tmp_path, "\n".join(['"image","x","y"', *quoted])).code == "csv-ragged"


def test_a_nameless_first_column_of_text_names_the_images_where_none_is_called_so(tmp_path: Path) -> None:
    found = read(tmp_path, ",x,y\na.png,1,2\nb.png,3,5\n")
    assert found.images == ("a.png", "b.png") and found.values.tolist() == [[1, 2], [3, 5]]
    assert found.notes == ("column 1 has no name and holds text: it names the images",)
    found = read(tmp_path, ",x,\na.png,1,two\nb.png,3,five\n")
    assert found.notes[1] == "column 3 has no name and holds row names: left out"
    assert refusal(tmp_path, "x,\n1,two\n3,five\n").code == "csv-cell"


@pytest.mark.parametrize(
    "name", ["image_file", "Stimulus_ID", "IMAGE_NAME", "Image Name", "image-file", "file_name", " filename "]
)
def test_columns_of_image_names(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, PLAIN.replace("image", name)).identity == read(tmp_path, PLAIN).identity


def test_of_several_columns_of_image_names_the_best_known_counts(tmp_path: Path) -> None:
    found = read(tmp_path, "stimulus_id,image_file,x\n17,a.png,1\n4,b.png,2\n")
    assert found.images == ("a.png", "b.png") and found.values.tolist() == [[1], [2]]
    assert found.notes == ("column 'image_file' names the images: 'stimulus_id' left out",)


def test_empty_lines_and_columns_of_spreadsheets_are_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, "image,x,y,,\na,1,2,,\n,,,,\nb,3,5,,\n,,,,\n , ,,,\n")
    assert found.images == ("a", "b") and found.values.tolist() == [[1, 2], [3, 5]]
    assert found.notes == (
        "columns 4, 5 have no name and hold nothing: left out",
        "3 empty lines are left out: 3, 5, 6",
    )
    assert read(tmp_path, "image,x\na,1,,\nb,2,\n").values.tolist() == [[1], [2]]


# numbers


@pytest.mark.parametrize(
    "cell", ["", " ", "NA", "na", "N/A", "n/a", "NaN", "nan", "-nan", "null", "NULL", "None", "<NA>", "#N/A", '"NA"']
)
def test_missing_values(tmp_path: Path, cell: str) -> None:
    found = read(tmp_path, f"image,x,y\na,1,2\nb,{cell},5\nc,3,4\n")
    assert (found.dropped.tolist(), found.lost) == ([0], ())
    assert found.values.tolist() == [[2], [5], [4]]
    assert read(tmp_path, f"image;x;y\na;1;2,5\nb;{cell};5\n").dropped.tolist() == [0]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["6,0", "-1,25", "+1,5", "2", "1e-3", "1,5E2", ",5", " 7,5 "], [6, -1.25, 1.5, 2, 1e-3, 150, 0.5, 7.5]),
        (['"8,5"', '"2"'], [8.5, 2]),
        (["6.0", "-1.25", "+1.5", "2", "1e-3", "1.5E2", ".5", " 7.5 ", "8."], [6, -1.25, 1.5, 2, 1e-3, 150, 0.5, 7.5, 8]),
        (["1.234,5", "1.234.567,0", "-1.234"], [1234.5, 1234567, -1234]),
        (["1,234.5", "1,234,567", "0.5"], [1234.5, 1234567, 0.5]),
        (["1'234.5", "2"], [1234.5, 2]),
        (["1 234,5", "1\u00a0234\u00a0567,5", "1\u202f234"], [1234.5, 1234567.5, 1234]),
        (["0,123", "1,234"], [0.123, 1.234]),
        (["1,5", "1,234"], [1.5, 1.234]),
    ],
)  # fmt: skip
def test_decimal_marks_and_thousands(tmp_path: Path, cells: list[str], expected: list[float]) -> None:
    np.testing.assert_array_equal(numbers(tmp_path, *cells), np.array(expected, np.float32))
    np.testing.assert_array_equal(numbers(tmp_path, *cells, separator="\t"), np.array(expected, np.float32))


def test_thousands_are_told(tmp_path: Path) -> None:
    found = read(tmp_path, 'image,x\na,"1,234.5"\nb,0.5\nc,"2,000"\n')
    assert found.values[:, 0].tolist() == [1234.5, 0.5, 2000]
    assert found.notes == ("2 numbers have thousands marks: '1,234.5' is 1234.5",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image;x\na;1,5\nb;1.5\n", "'1,5' and '1.5' cannot be read with one decimal mark"),
        ('image,x,y\na,"1,5",1.5\n', "'1,5' and '1.5' cannot be read with one decimal mark"),
        ("image;x\na;1,234\nb;5,678\n", "'1,234' may have a decimal mark or one of thousands"),
        ("image;x\na;1.234\nb;5.678\n", "'1.234' may have a decimal mark or one of thousands"),
        ('image,x\na,"1,234"\nb,5\n', "'1,234' may have a decimal mark or one of thousands"),
    ],
)
def test_a_decimal_mark_that_is_uncertain_is_refused(tmp_path: Path, text: str, words: str) -> None:
    refused = refusal(tmp_path, text)
    assert refused.code == "csv-decimal" and words in refused.message


def test_points_in_tables_between_commas_are_decimal_points(tmp_path: Path) -> None:
    assert read(tmp_path, "image,x\na,1.234\nb,5.678\n").notes == ()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("Inf", "'Inf' is infinite, or too large for float32"),
        ("-infinity", "'-infinity' is infinite"),
        ("1e39", "'1e39' is infinite, or too large"),
        ("1_0", "'1_0' is no number"),
        ("1.2.3", "'1.2.3' is no number"),
        ("12 34", "'12 34' is no number"),
        ("1..5", "'1..5' is no number"),
        ("#DIV/0!", "'#DIV/0!' is no number"),
        ("5%", "'5%' is no number"),
        ("e5", "'e5' is no number"),
        ("+", "'+' is no number"),
    ],
)
def test_a_cell_that_is_no_finite_number_is_told_with_line_and_column(
    tmp_path: Path, cell: str, words: str, separator: str
) -> None:
    refused = refusal(tmp_path, f"image,x,y\na,1,2\nb,1,{cell}\n".replace(",", separator))
    assert refused.code == "csv-cell" and f"line 3, column 'y': {words}" in refused.message
    refused = refusal(tmp_path, f"image;x;y\na;1,5;2\nb;1;{cell}\n")
    assert refused.code == "csv-cell" and f"line 3, column 'y': {words}" in refused.message


# lost trials


def table(values: np.ndarray) -> str:
    rows = [
        ",".join([f"s{row}.png", *("" if np.isnan(v) else f"{v:g}" for v in line)]) for row, line in enumerate(values)
    ]
    return "\n".join([",".join(["image", *(f"v{c}" for c in range(values.shape[1]))]), *rows])


@pytest.mark.parametrize(
    ("missing", "lost", "dropped"),
    [
        ([(5, slice(None))], [5], []),
        ([(5, slice(0, 3))], [5], []),
        ([(5, slice(0, 2))], [], [0, 1]),  # half of a row is no lost trial
        ([(slice(0, 9), slice(None))], list(range(9)), []),  # most rows are empty
        ([(slice(0, 9), 1)], [], [1]),  # most of a column
        ([(slice(0, 9), slice(0, 3))], [], [0, 1, 2]),  # most of three columns: no row is blamed for them
        ([(slice(0, 9), slice(0, 2)), (11, 3)], [], [0, 1, 3]),
        ([(slice(0, 9), 0), (11, slice(1, 3))], [11], [0]),
        ([(0, 0), (1, 1)], [], [0, 1]),
    ],
)  # fmt: skip
def test_rows_that_lack_more_than_half_are_left_out_and_named(
    tmp_path: Path, missing: list[tuple[int | slice, int | slice]], lost: list[int], dropped: list[int]
) -> None:
    values = np.random.default_rng(0).integers(1, 99, (12, 4)).astype(float)
    for place in missing:
        values[place] = np.nan
    found = read(tmp_path, table(values))
    assert (found.lost, found.dropped.tolist()) == (tuple(f"s{row}.png" for row in lost), dropped)
    kept = np.delete(np.delete(values, lost, 0), dropped, 1)
    np.testing.assert_array_equal(found.values, kept)
    assert len(found.images) == len(found.files) == 12 - len(lost)
    if lost:
        told = f"{len(lost)} of 12 rows left out, which lack more than half of their numbers: s{lost[0]}.png"
        assert found.notes[0].startswith(told)
    shuffled = random.Random(1).sample(range(12), 12)
    lines = table(values).splitlines()
    again = read(tmp_path, "\n".join([lines[0], *(lines[1 + row] for row in shuffled)]))
    assert set(again.lost) == set(found.lost) and again.dropped.tolist() == dropped


def test_the_rule_is_the_same_for_arrays(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((12, 40))
    values[5, 1:] = np.nan
    names = [f"{row}.png" for row in range(12)]
    np.savez(tmp_path / "table.npz", responses=values, images=names)
    np.save(tmp_path / "table.npy", values)
    (tmp_path / "table.images.txt").write_text("\n".join(names))
    for name in ("table.npz", "table.npy"):
        found = open_responses(tmp_path / name)
        assert (found.lost, found.values.shape, found.dropped.tolist()) == (("5.png",), (11, 40), [])


def test_a_table_without_any_number_says_so(tmp_path: Path) -> None:
    refused = refusal(tmp_path, "image,x,y\na,,NA\nb,,\n")
    assert refused.code == "no-voxel" and "2 with NaN or infinity" in refused.message
    refused = refusal(tmp_path, "image,x,y\na,1,2\nb,,\n")
    told = "2 constant; 1 of 2 rows left out, which lack more than half of their numbers: b"
    assert refused.code == "no-voxel" and refused.message.endswith(told)
