"""Tables of responses: csv, tsv, npy, npz and safetensors give the same, and none can do harm."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from alignedcut_cli.brain import Responses, open_responses
from alignedcut_cli.brain.arrays import LARGEST
from alignedcut_cli.errors import AlignedcutError, DataError, UsageError

NAMES = ["a.png", "b.png", "c.png", "d.png"]
VALUES = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
MASK = np.array([True, False, True])
CEILING = np.array([0.5, 0.25, np.nan], np.float32)
BESIDE = "table.images.txt"


def write_csv(folder: Path, values: np.ndarray = VALUES, names: list[str] | None = NAMES, **_: Any) -> Path:
    header = ",".join([*(["Image"] if names else []), *(f"c{column}" for column in range(values.shape[1]))])
    rows = [
        ",".join([*([names[row]] if names else []), *map(repr, map(float, values[row]))]) for row in range(len(values))
    ]
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_npz(folder: Path, values: np.ndarray = VALUES, names: list[str] | None = NAMES, **extra: Any) -> Path:
    path = folder / "table.npz"
    given = {"images": np.array(names)} if names else {}
    np.savez(path, responses=values, **given, **{key.replace("roi.", "rois/"): array for key, array in extra.items()})
    return path


def write_safetensors(folder: Path, values: np.ndarray = VALUES, names: list[str] | None = NAMES, **extra: Any) -> Path:
    path = folder / "table.safetensors"
    metadata = {"images": json.dumps(names)} if names else None
    save_file({"responses": values, **extra}, path, metadata)
    return path


def write_tsv(folder: Path, values: np.ndarray = VALUES, names: list[str] | None = NAMES, **_: Any) -> Path:
    path = write_csv(folder, values, names).rename(folder / "table.tsv")
    path.write_text(path.read_text().replace(",", "\t"), encoding="utf-16")
    return path


def write_npy(folder: Path, values: np.ndarray = VALUES, names: list[str] | None = NAMES, **_: Any) -> Path:
    """Names beside the table, as it holds none."""
    path = folder / "table.npy"
    np.save(path, values)
    (folder / BESIDE).write_text("\n".join(names or []))
    if not names:
        (folder / BESIDE).unlink()
    return path


Writer = Callable[..., Path]
WRITERS = [write_csv, write_tsv, write_npy, write_npz, write_safetensors]
FULL = [write_npz, write_safetensors]


def refusal(path: Path) -> AlignedcutError:
    with pytest.raises(AlignedcutError) as caught:
        open_responses(path)
    assert caught.value.exit_status == 65
    return caught.value


# what all kinds do alike


@pytest.mark.parametrize("write", WRITERS)
def test_every_kind_gives_the_same(tmp_path: Path, write: Writer) -> None:
    found = open_responses(write(tmp_path))
    assert (found.source, found.images, found.files) == ("table", tuple(NAMES), (None,) * 4)
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.values.dtype == np.float32 and not found.given.any() and found.voxels.tolist() == [0, 1, 2]
    assert (found.ceiling, dict(found.rois), found.notes, found.left) == (None, {}, found.notes, None)
    assert found.notes == (("read as UTF-16, tabs between cells, decimal points",) if write is write_tsv else ())
    assert found.identity == open_responses(write_csv(tmp_path)).identity


@pytest.mark.parametrize("write", FULL)
def test_masks_and_ceilings_are_optional(tmp_path: Path, write: Writer) -> None:
    extra = {"roi.V1v": MASK, "roi.V1d": ~MASK, "roi.none": MASK & ~MASK}
    found = open_responses(write(tmp_path, ceiling=CEILING, **extra))
    assert {name: mask.tolist() for name, mask in found.rois.items()} == {
        "V1v": MASK.tolist(), "V1d": (~MASK).tolist(), "V1": [True] * 3
    }  # fmt: skip
    np.testing.assert_array_equal(found.ceiling, CEILING)
    assert found.notes == ("no voxel in: none",)


@pytest.mark.parametrize("write", WRITERS)
def test_names_may_stand_in_a_file_beside(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path, names=None)
    refused = refusal(path)
    assert refused.code in ("image-list-missing", "csv-cell") and (path.suffix == ".csv" or BESIDE in refused.remedy)
    (tmp_path / BESIDE).write_text("﻿" + "\r\n".join(NAMES) + "\r\n", encoding="utf-8")
    assert open_responses(path).images == tuple(NAMES)


@pytest.mark.parametrize("write", WRITERS)
def test_images_that_lie_there_are_found(tmp_path: Path, write: Writer) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.png").write_text("b")
    (tmp_path / "c.png").write_text("c")
    names = ["a.png", "below\\b.png", str(tmp_path / "c.png"), "x" * 5000]
    found = open_responses(write(tmp_path, names=names))
    assert found.files == (None, tmp_path / "below/b.png", tmp_path / "c.png", None)
    assert found.images[1] == "below/b.png"


@pytest.mark.parametrize("write", WRITERS)
def test_channels_with_nan_or_a_constant_are_dropped(tmp_path: Path, write: Writer) -> None:
    values = VALUES.copy()
    values[1, 0] = np.nan
    values[:, 2] = 3
    found = open_responses(write(tmp_path, values=values))
    assert (found.voxels.tolist(), found.dropped.tolist()) == ([1], [0, 2])
    np.testing.assert_array_equal(found.values, VALUES[:, 1:2])


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        (["a.png", "b.png", "a.png", "d.png"], "image-twice", "a.png"),
        (["a.png", " ", "c.png", "d.png"], "image-nameless", "row 2"),
    ],
)
def test_every_image_has_one_row(tmp_path: Path, write: Writer, names: list[str], code: str, words: str) -> None:
    refused = refusal(write(tmp_path, names=names))
    assert refused.code == code and words in refused.message


@pytest.mark.parametrize("write", FULL)
@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"roi.V1": MASK[:2]}, "table-length"),
        ({"roi.V1": np.array([0, 1, 2])}, "roi-mask"),
        ({"ceiling": CEILING[:2]}, "table-length"),
        ({"ceiling": CEILING - 1}, "ceiling-range"),
        ({"ceiling": CEILING.astype("f8") * 1e300}, "ceiling-range"),
        ({"names": NAMES[:3]}, "image-count"),
        ({"values": VALUES[0]}, "table-shape"),
        ({"values": VALUES[:, :0]}, "table-shape"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, write: Writer, extra: dict[str, Any], code: str) -> None:
    assert refusal(write(tmp_path, **extra)).code == code


@pytest.mark.parametrize("write", FULL)
def test_any_number_type_is_read(tmp_path: Path, write: Writer) -> None:
    for kind in ("f2", "f4", "f8", "i2", "i8", "u1"):
        values = (VALUES * 3 + 9).astype(kind)
        np.testing.assert_array_equal(open_responses(write(tmp_path, values=values)).values, values.astype("f4"))


def test_files_of_other_kinds_and_a_subject_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("x.txt", "pipe.csv"):
        assert refusal(tmp_path / name).code == "brain-unknown"
    with pytest.raises(UsageError, match="is a table"):
        open_responses(write_csv(tmp_path), subject=1)


# lists of names beside a table


@pytest.mark.parametrize(
    ("beside", "text"),
    [
        ("table.txt", "\n".join(NAMES)),
        ("table_names.txt", "\n".join(NAMES) + "\n\n \n"),
        ("table_images.txt", "\r\n".join(NAMES)),
        ("table_names.csv", "image\n" + "\n".join(NAMES)),
        ("table_images.csv", "\n".join(NAMES)),
        ("images.txt", "\n".join(NAMES)),
        ("names.txt", "\n".join(NAMES)),
        ("images.csv", "nr;Image_File\n" + "\n".join(f"{nr};{name}" for nr, name in enumerate(NAMES))),
        ("names.csv", "\n".join([",image", *(f"{nr},{name}" for nr, name in enumerate(NAMES))])),
    ],
)
def test_the_plain_names_of_lists_are_found(tmp_path: Path, beside: str, text: str) -> None:
    expected = open_responses(write_npy(tmp_path)).identity
    (tmp_path / BESIDE).unlink()
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / beside).write_text(text, encoding=encoding)
        found = open_responses(tmp_path / "table.npy")
        told = ", read as UTF-16" if encoding == "utf-16" else ""
        assert (found.identity, found.notes) == (expected, (f"image names are those of {beside}{told}",))


def test_the_nearest_list_counts_and_two_that_differ_are_refused(tmp_path: Path) -> None:
    path = write_npy(tmp_path, names=None)
    (tmp_path / "names.txt").write_text("\n".join(NAMES[::-1]))
    assert open_responses(path).images == tuple(NAMES[::-1])
    (tmp_path / "images.txt").write_text("\n".join(NAMES[::-1]))
    assert open_responses(path).notes == ("image names are those of images.txt",)
    (tmp_path / "images.csv").write_text("\n".join(NAMES))
    refused = refusal(path)
    assert refused.code == "image-list-unclear" and "images.txt and images.csv beside it differ" in refused.message
    (tmp_path / "table.txt").write_text("\n".join(NAMES))
    assert open_responses(path).images == tuple(NAMES)
    (tmp_path / "table_names.csv").write_text("a,b\n1,2\n")
    assert refusal(path).code == "image-list-unreadable"
    (tmp_path / BESIDE).write_text("\n".join(NAMES))
    assert open_responses(path).notes == ()
    (tmp_path / BESIDE).write_bytes(b"a\x00\xff")
    assert refusal(path).code == "image-list-unreadable"


def test_names_in_two_unicode_forms_are_one_name(tmp_path: Path) -> None:
    names = ["Br\u00fccke.png", "Bru\u0308cke.png", "c.png", "d.png"]
    assert refusal(write_csv(tmp_path, names=names)).code == "image-twice"


def test_npy_of_python_objects_is_never_loaded(tmp_path: Path) -> None:
    path = write_npy(tmp_path)
    np.save(path, np.array([{}, None], object), allow_pickle=True)
    assert refusal(path).code == "npy-objects"
    path.write_bytes(npy(f"({LARGEST}, 3)"))
    assert refusal(path).code == "too-large"


# csv


def csv(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_image_column_may_stand_anywhere_and_cells_may_be_empty(tmp_path: Path) -> None:
    found: Responses = open_responses(csv(tmp_path, '﻿x,STIMULUS,y,z\r\n1,"a, b.png",2,\r\n\r\n3,c.png,4e0,5\r\n'))
    assert found.images == ("a, b.png", "c.png")
    np.testing.assert_array_equal(found.values, [[1, 2], [3, 4]])
    assert found.dropped.tolist() == [2]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("image,x,y\na,1,2\nb,1,two\n", "csv-cell", "line 3, column 'y': 'two' is no number"),
        ("image,x\na,1_0\n", "csv-cell", "'1_0' is no number"),
        ("picture,x\na,1\n", "csv-cell", "column 'picture'"),
        ("image,x\na,1\nb,1,2\n", "csv-ragged", "line 3 has 3 cells, the header 2"),
        ("image|x\na|1\n", "csv-cell", "no number"),
        ("", "csv-empty", "no rows"),
        ("image,x\n", "csv-empty", "no rows"),
        ("image\na\nb\n", "table-shape", "(2, 0)"),
        (b"image,x\n\xff\x00\xfe,1\n", "csv-unreadable", "neither UTF-8, UTF-16 nor Windows-1252"),
        (b"\xff\xfei\x00m", "csv-unreadable", "is no text"),
        ('image,x\n"a,1\n', "csv-unreadable", "line"),
        ("image,x\n" + "a" * 200_000 + ",1\n", "csv-unreadable", "field larger"),
    ],
)
def test_a_csv_that_cannot_be_read_says_where(tmp_path: Path, text: str | bytes, code: str, words: str) -> None:
    refused = refusal(csv(tmp_path, text))
    assert refused.code == code and words in refused.message


# npz


def test_the_only_table_of_floats_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez_compressed(path, eeg=VALUES, images=np.array(NAMES), trial=np.arange(8).reshape(2, 4), **{"roi.A": MASK})
    found = open_responses(path)
    np.testing.assert_array_equal(found.values, VALUES)
    assert list(found.rois) == ["A"]
    np.savez(path, eeg=VALUES, meg=VALUES, images=np.array(NAMES))
    assert refusal(path).code == "responses-missing"


def test_names_may_be_bytes_and_called_as_columns_are(tmp_path: Path) -> None:
    path, names = tmp_path / "table.npz", ["a.png", "Br\u00fccke.png", "c.png", "d.png"]
    for encoding in ("utf-8", "latin-1"):
        for key in ("images", "stimulus_id", "Image_Name"):
            np.savez(path, responses=VALUES, **{key: np.array([name.encode(encoding) for name in names])})  # type: ignore[arg-type]
            assert open_responses(path).images == tuple(names)
    np.savez(path, responses=VALUES, images=np.array([b"\x81"] * 4))
    assert refusal(path).code == "npz-names"


@pytest.mark.parametrize("key", ["responses", "images", "roi.V1", "ceiling"])
def test_python_objects_are_never_loaded(tmp_path: Path, key: str) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (tmp_path.joinpath("canary").touch, ())

    arrays = {"responses": VALUES, "images": np.array(NAMES), key: np.array([Evil(), None], object)}
    np.savez(tmp_path / "table.npz", **arrays)  # type: ignore[arg-type]
    refused = refusal(tmp_path / "table.npz")
    assert refused.code == "npy-objects" and key in refused.message
    assert not (tmp_path / "canary").exists()


def zipped(folder: Path, **members: bytes) -> Path:
    path = folder / "table.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(shape: str, content: bytes = b"", descr: str = "<f4") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (npy(f"({LARGEST}, 3)"), "too-large"),
        (npy("(4, 1000)", b"0" * 12), "npz-corrupt"),
        (npy("(4, 3)", b"0" * 4800), "npz-corrupt"),
        (npy("(4, 3)", b"0" * 48, descr="<U1"), "npy-type"),
        (npy("(-4, -3)", b"0" * 48), "npy-unreadable"),
        (npy("(4, 3)", b"0" * 48, descr="<z4"), "npy-unreadable"),
        (npy("(" * 60), "npy-unreadable"),
        (b"\x93NUMPY\x03\x00", "npy-unreadable"),
        (b"text", "npy-unreadable"),
        (b"", "npy-unreadable"),
    ],
)
def test_a_hostile_header_is_refused_before_its_numbers_are_unpacked(tmp_path: Path, content: bytes, code: str) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array(NAMES))
    assert refusal(zipped(tmp_path, responses=content, images=buffer.getvalue())).code == code


def test_names_and_masks_are_not_unpacked_if_their_headers_do_not_fit(tmp_path: Path) -> None:
    """The members hold no bytes at all: were they unpacked, the refusal would be another."""
    table, names = io.BytesIO(), io.BytesIO()
    np.save(table, VALUES)
    np.save(names, np.array(NAMES))
    given = {"responses": table.getvalue(), "images": names.getvalue()}
    assert refusal(zipped(tmp_path, **{**given, "images": npy("(4,)", descr="<U99999999")})).code == "npz-names"
    assert refusal(zipped(tmp_path, **{**given, "images": npy("(2, 2)", descr="<U1")})).code == "npz-names"
    assert refusal(zipped(tmp_path, **given, ceiling=npy("(9999999999,)"))).code == "table-length"
    assert refusal(zipped(tmp_path, **given, **{"roi.A": npy("(4,)", descr="|b1")})).code == "table-length"


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    whole = write_npz(tmp_path).read_bytes()
    path = tmp_path / "table.npz"
    for harmed in (b"", b"text", whole[:100], whole[:-30], whole.replace(VALUES.tobytes()[:8], b"harmed!!")):
        path.write_bytes(harmed)
        assert refusal(path).code in ("npz-unreadable", "npy-unreadable")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bytes_changed_at_random_give_responses_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    for write in WRITERS:
        path = write(folder)
        whole = bytearray(path.read_bytes())
        places = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
        for place, value in data.draw(st.lists(places, min_size=1, max_size=4)):
            whole[place] = value
        path.write_bytes(bytes(whole))
        try:
            assert np.isfinite(open_responses(path).values).all()
        except DataError:
            continue


# safetensors


def test_a_safetensors_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path)
    path.write_bytes(path.read_bytes()[:-8])
    assert refusal(path).code == "table-unreadable"
    save_file({"x": VALUES}, path)
    assert refusal(path).code == "responses-missing"


@pytest.mark.parametrize("names", ["no json", '{"a": 1}', "[1, 2, 3, 4]", "[" * 10_000])
def test_the_names_in_the_metadata_are_a_list(tmp_path: Path, names: str) -> None:
    path = tmp_path / "table.safetensors"
    save_file({"responses": VALUES}, path, {"images": names})
    assert refusal(path).code == "image-list-unreadable"
