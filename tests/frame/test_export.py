"""`show --export`: tables for other programs hold what the artifact holds, in every format, in pieces, or not at all."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from alignedcut_cli.commands import show
from alignedcut_cli.frame import export
from alignedcut_cli.frame.export import WRITERS, Column, Table, export_table, table_of_rows, values
from alignedcut_cli.nodes.slots import node_table
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import KINDS, REPORTS, Project
from tests.conftest import Cli
from tests.helpers.frames import read
from tests.helpers.stores import NUMERICS, flip, make_cut, make_features

ROWS = 100
HOSTILE = ("a,b", 'quo"te', "two\nlines", "=1+1", "né", "\udcff", "'; DROP", "<script>", "\u202egnp", " ", "0")


@pytest.fixture
def table() -> tuple[Table, dict[str, Any]]:
    """A table with a column of each kind, and what it must hold."""
    draws = np.random.default_rng(0)
    single = draws.standard_normal(ROWS).astype(np.float32) * 1e-3
    double = draws.standard_normal(ROWS) * 1e9
    single[3], double[7], single[99] = np.nan, np.nan, np.inf
    numbers = draws.integers(-(2**31), 2**31, ROWS).astype(np.int32)
    labelled = (np.arange(ROWS) % (len(HOSTILE) + 1) - 1).astype(np.int32)
    columns = {
        "single": values(single),
        "double": values(double),
        "number": values(numbers),
        "byte": values(numbers.astype(np.uint8)),
        "flag": Column(lambda start, stop: numbers[start:stop] > 0),
        "text, \udcff": values(labelled, HOSTILE),
    }
    told = [None, *(label.encode("utf-8", "backslashreplace").decode() for label in HOSTILE)]
    held = {
        "single": single,
        "double": double,
        "number": numbers,
        "byte": numbers.astype(np.uint8),
        "flag": numbers > 0,
    }
    return Table(ROWS, columns), {**held, "text, \\udcff": np.array(told, object)[labelled + 1]}


@pytest.mark.parametrize("piece", [7, ROWS, 10**6])
@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_holds_every_value(
    table: tuple[Table, dict[str, Any]], suffix: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PIECE", piece)
    counted: list[int] = []
    path = tmp_path / f"table{suffix}"
    export_table(table[0], path, counted.append)
    found, wanted = read(path), table[1]
    assert list(found) == list(wanted)
    for name, column in wanted.items():
        told = found[name].astype(column.dtype)
        assert pd.Series(column, dtype=column.dtype).equals(told), name
    assert found["flag"].dtype == bool and found["double"].dtype == np.float64
    assert sum(counted) == ROWS * len(wanted)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_rows_become_columns_of_one_type_each() -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1, "b": 2, "c": None, "d": True, "e": "x", "f": None},
        {"a": 3, "b": 0.5, "c": 4, "d": False, "e": None, "f": None, "g": "last"},
    ]
    made = table_of_rows(rows)
    cells = {name: column.read(0, 2) for name, column in made.columns.items()}
    assert {name: array.dtype.kind for name, array in cells.items()} == {
        "a": "i",
        "b": "f",
        "c": "f",
        "d": "b",
        "e": "i",
        "f": "f",
        "g": "i",
    }
    assert np.isnan(cells["c"][0]) and cells["c"][1] == 4
    assert made.columns["e"].labels == ("x",) and cells["e"].tolist() == [0, -1]
    assert made.columns["g"].labels == ("last",) and cells["g"].tolist() == [-1, 0]
    assert table_of_rows([]).rows == 0


SLOTS = [
    {"model": "a", "layer": 2, "tap": "attn", "width": 4, "grid": [2, 3], "class_token": True},
    {"model": "b", "layer": 5, "tap": "attn", "width": 4, "grid": [3, 3], "class_token": False},
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a feature set, a per-slot cut of two slots of five hostile images, and a coloring of it."""
    project = Project(tmp_path_factory.mktemp("exported")).create()
    make_features(project)
    draws, images = np.random.default_rng(1), [{"path": name} for name in HOSTILE[:5]]
    nodes = np.concatenate([node_table(slot, number, len(images)) for number, slot in enumerate(SLOTS)])
    rows, first = len(nodes), int((nodes[:, 1] == 0).sum())
    axes = {
        "M": {"size": rows}, "B": {"size": len(images), "images": images}, "S": {"size": len(SLOTS), "slots": SLOTS},
        "Z": {"size": 3, "labels": ["red", "green", "blue"]},
    }  # fmt: skip
    of_kinds = {
        "cut": {
            "eigenvectors": (draws.standard_normal((rows, 4)).astype(np.float32), "M C"),
            "graphs": (np.array([[0, first], [first, rows]]), "G R"),
        },
        "color": {
            "rgb": (draws.integers(0, 256, (rows, 3)).astype(np.uint8), "M Z"),
            "coordinates": (draws.standard_normal((rows, 3)).astype(np.float32), "M d"),
            "sampled": (np.sort(draws.choice(rows, 20, replace=False)), "m"),
        },
    }
    for kind, held in of_kinds.items():
        held["nodes"] = nodes, "M T"
        tensors = {name: array for name, (array, _) in held.items()}
        meanings = {name: (letters, name) for name, (_, letters) in held.items()}
        given = {"axes": axes, "numerics": NUMERICS}
        write_artifact(project.path(kind, "exported"), Recipe(kind, "exported", 1, {}), tensors, meanings, **given)
    return project.root


def test_the_table_of_a_cut_is_its_eigenvectors_with_what_their_nodes_are(
    cli: Cli, study: Path, tmp_path: Path
) -> None:
    frames = []
    for suffix in WRITERS:
        done = cli("show", "cut/exported", "--export", tmp_path / f"cut{suffix}", "-p", study, "--json")
        assert done.status == 0, done.err
        frames.append(read(tmp_path / f"cut{suffix}"))
        assert done.object["rows"] == len(frames[-1]) and done.object["columns"] == list(frames[-1])
    found, held = frames[0], load_file(study / "cut" / "exported.safetensors")
    names = [f"eigenvector_{number}" for number in range(1, 5)]
    for other in frames[1:]:
        single = other.astype(dict.fromkeys(names, np.float32))
        pd.testing.assert_frame_equal(found, single, check_dtype=False, check_exact=True)
    vectors = found[names].to_numpy()
    assert np.array_equal(vectors, held["eigenvectors"])
    assert np.array_equal(found[["row", "col"]].to_numpy(), held["nodes"][:, 2:])
    axes = cli("show", "cut/exported", "-p", study, "--json").object["axes"]
    paths, slots = [image["path"] for image in axes["B"]["images"]], axes["S"]["slots"]
    assert found["image"].tolist() == [paths[number] for number in held["nodes"][:, 0]]
    assert found["layer"].tolist() == [slots[number]["layer"] for number in held["nodes"][:, 1]]
    assert found["model"].tolist() == [slots[number]["model"] for number in held["nodes"][:, 1]]
    assert np.array_equal(found["class_token"], held["nodes"][:, 2] < 0) and found["class_token"].sum() == len(paths)
    assert [held["graphs"][number].tolist() for number in sorted(set(found["graph"]))] == [
        [rows.index[0], rows.index[-1] + 1] for _, rows in found.groupby("graph")
    ]


def test_the_table_of_a_coloring_is_its_colours_and_places(cli: Cli, study: Path, tmp_path: Path) -> None:
    assert cli("show", "color/exported", "--export", tmp_path / "c.npz", "-p", study).status == 0
    found, held = read(tmp_path / "c.npz"), load_file(study / "color" / "exported.safetensors")
    assert np.array_equal(found[["red", "green", "blue"]], held["rgb"])
    assert np.array_equal(found[["x", "y", "z"]], held["coordinates"])
    assert found.index[found["placed"]].tolist() == held["sampled"].tolist()


def test_every_kind_but_features_and_pages_has_a_table() -> None:
    assert set(show.tables_by_kind()) == set(KINDS) - {"features", REPORTS}


def test_what_cannot_be_exported(cli: Cli, study: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.csv"
    there.write_text("mine")
    wrong = [
        (("cut/exported", "--export", tmp_path / "a.xlsx"), 2, "bad-suffix"),
        (("cut/exported", "--export", there), 73, "output-exists"),
        (("cut/exported", "--export", tmp_path / "a.csv", "--table", "scores"), 2, "bad-table"),
        (("cut/exported", "--table", "nodes"), 2, "option-idle"),
        (("features/f", "--export", tmp_path / "a.csv"), 2, "no-table"),
        (("cut/exported", "--export", there / "below.csv"), 74, "disk-failed"),
    ]
    for argv, status, code in wrong:
        told = cli("show", *argv, "-p", study)
        assert (told.status, told.out) == (status, "") and f"[{code}, exit {status}]" in told.err, told.err
    assert there.read_text() == "mine" and list(tmp_path.iterdir()) == [there]
    assert cli("show", "cut/exported", "--export", there, "--overwrite", "-p", study).status == 0
    assert len(read(there)) == 5 * (7 + 9)


def test_an_artifact_that_was_damaged_or_lacks_its_nodes_is_refused(cli: Cli, tmp_path: Path) -> None:
    project = Project(tmp_path / "toy").create()
    make_features(project)
    make_cut(project)
    told = cli("show", "cut/c", "--export", tmp_path / "a.csv", "-p", project.root)
    assert (told.status, "[no-table, exit 2]" in told.err) == (2, True)
    make_cut(project, "old", "c", kind="score")
    told = cli("show", "score/old", "--export", tmp_path / "a.csv", "-p", project.root)
    assert (told.status, "[artifact-other, exit 65]" in told.err) == (65, True)


def test_a_flipped_byte_is_found_before_anything_is_written(cli: Cli, study: Path, tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    copy = tmp_path / "cut" / "exported.safetensors"
    copy.write_bytes((study / "cut" / "exported.safetensors").read_bytes())
    flip(copy, -5)
    told = cli("show", "cut/exported", "--export", tmp_path / "a.csv", "-p", tmp_path)
    assert (told.status, "[artifact-corrupt, exit 65]" in told.err) == (65, True)
    assert not (tmp_path / "a.csv").exists()


def test_parquet_without_pyarrow_says_what_to_do(
    cli: Cli, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError("No module named 'pyarrow'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    told = cli("show", "cut/exported", "--export", tmp_path / "a.parquet", "-p", study)
    assert (told.status, told.out) == (69, "")
    assert "pip install 'alignedcut[parquet]', or give a .csv or .npz.   [package-missing, exit 69]" in told.err
    assert not list(tmp_path.iterdir())


def test_what_is_held_at_once_does_not_grow_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PIECE", 10)
    asked: list[int] = []

    def piece(start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return np.arange(start, stop)

    for suffix in WRITERS:
        export_table(Table(1000, {"a": Column(piece), "b": Column(piece)}), tmp_path / f"t{suffix}")
    assert max(asked) == 10
    assert pd.read_csv(io.StringIO((tmp_path / "t.csv").read_text()))["b"].tolist() == list(range(1000))
