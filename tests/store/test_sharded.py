"""Artifacts in shards: the content of single files, written by anyone, replaced atomically, and read by range."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError, OutputExistsError
from alignedcut_cli.store import ranges, verify
from alignedcut_cli.store.artifact import (
    ArtifactWriter,
    is_sharded,
    load_tensors,
    map_tensors,
    open_tensors,
    read_header,
    write_artifact,
)
from alignedcut_cli.store.canonical import canonical_json, digest, tensor_digest
from alignedcut_cli.store.check import check_project, sweep
from alignedcut_cli.store.files import remove
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.index import INDEX
from alignedcut_cli.store.joined import JoinedRows
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.status import project_states
from alignedcut_cli.store.swap import PLAN, old_folder, partial_folder, swap_in
from tests.helpers.stores import NUMERICS, flip

ROWS = 10
NODES = 47
MEANINGS = {
    "eigenvectors": ("M C", "rows"),
    "nodes": ("M T", "what they are"),
    "eigenvalues": ("C", "values"),
    "similarity": ("Q M", "no rows"),
}
NAMES = ("00000-of-00006.safetensors", "00003-of-00006.safetensors")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project, where an artifact of more than 10 rows lies in shards of 10 rows."""
    monkeypatch.setattr(ranges, "ROWS", ROWS)
    monkeypatch.setattr(ranges, "LIMIT", 100)
    return Project(tmp_path / "study").create()


def arrays(rows: int = NODES, add: int = 0) -> dict[str, np.ndarray]:
    found = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3) + add
    nodes = np.arange(rows * 4, dtype=np.int32).reshape(rows, 4)
    return {"eigenvectors": found, "nodes": nodes, "eigenvalues": found[0].copy(), "similarity": found.T[:2].copy()}


def recipe_of(add: int = 0, kind: str = "cut") -> Recipe:
    return Recipe(kind, "c", 1, {"add": add})


def axes_of(rows: int) -> dict[str, Any]:
    return {"M": {"size": rows}, "C": {"size": 3}}


def write(project: Project, rows: int = NODES, add: int = 0, kind: str = "cut") -> Header:
    return write_artifact(
        project.path(kind, "c"),
        recipe_of(add, kind),
        arrays(rows, add),
        MEANINGS,
        axes=axes_of(rows),
        numerics=NUMERICS,
    )


def write_file(project: Project, patch: pytest.MonkeyPatch, add: int = 0) -> Header:
    with patch.context() as one:
        one.setattr(ranges, "LIMIT", 2 << 30)
        return write(project, add=add)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def require_same(found: Any, wanted: dict[str, np.ndarray]) -> None:
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_rows_that_are_read_as_they_are_needed_are_written_shard_by_shard(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same bytes, whether in shards or in one file."""
    wanted = write(project)
    folder = project.path("cut", "c").with_name("c")
    before, tensors, opened = bytes_of(folder), arrays(), list[int]()
    ends = [0, 7, 8, 30, NODES]

    def lazily(array: np.ndarray) -> Any:
        def piece(number: int) -> np.ndarray:
            opened.append(number)
            return array[ends[number] : ends[number + 1]]

        return JoinedRows(piece, np.diff(ends).tolist())

    def write_again() -> Header:
        given = {
            name: lazily(tensors[name]) if name in ("eigenvectors", "nodes") else tensors[name] for name in tensors
        }
        path, more = project.path("cut", "c"), {"axes": axes_of(NODES), "numerics": NUMERICS}
        return write_artifact(path, recipe_of(), given, MEANINGS, **more)

    spans, read = list[int](), JoinedRows.rows
    with monkeypatch.context() as watch:
        watch.setattr(JoinedRows, "rows", lambda self, a, b: (spans.append(b - a), read(self, a, b))[1])
        assert write_again().content == wanted.content
    assert max(spans) == ROWS and set(opened) == {0, 1, 2, 3}
    assert bytes_of(folder) == before
    monkeypatch.setattr(ranges, "LIMIT", 2 << 30)
    assert write_again().content == wanted.content
    require_same(load_tensors(project.path("cut", "c"))[1], tensors)


# content ids


def slow_content(tensors: dict[str, np.ndarray], rows: int) -> str:
    """The id by its definition: BLAKE2b of all tensors without long ones, then sha256 of the list of those of the parts."""

    def one(part: dict[str, np.ndarray]) -> str:
        text = b"".join(
            json.dumps([name, array.dtype.str, list(array.shape)], separators=(",", ":")).encode() + array.tobytes()
            for name, array in sorted(part.items())
        )
        return hashlib.blake2b(text, digest_size=32).hexdigest()

    parts = [one({name: array for name, array in tensors.items() if len(array) <= rows})]
    start = 0
    while any(len(array) > max(rows, start) for array in tensors.values()):
        long = {name: array for name, array in tensors.items() if len(array) > max(rows, start)}
        parts.append(one({name: array[start : start + rows] for name, array in long.items()}))
        start += rows
    text = json.dumps(parts, separators=(",", ":"))
    return parts[0] if len(parts) == 1 else hashlib.sha256(text.encode()).hexdigest()


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([(), (3,), (2, 2)])), min_size=1, max_size=4))
def test_the_content_id_is_the_same_in_one_file_and_in_shards(shapes: list[tuple[int, tuple[int, ...]]]) -> None:
    tensors = {f"t{n}": np.full((rows, *rest), n, np.int16) for n, (rows, rest) in enumerate(shapes)}
    wanted = slow_content(tensors, ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "ROWS", ROWS)
        assert ranges.content_id(tensors) == wanted
        assert wanted != ranges.content_id({**tensors, "t0": tensors["t0"] + 1}) or not tensors["t0"].size


def test_without_long_tensors_the_content_id_is_that_of_all_tensors(project: Project) -> None:
    header = write(project, rows=ROWS)
    assert header.content == tensor_digest(arrays(ROWS))
    assert project.path("cut", "c").is_file()


def test_what_is_stored_in_shards_is_a_matter_of_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    large = {"eigenvectors": ("<f4", (30_000_000, 20)), "nodes": ("<i4", (30_000_000, 4))}
    assert is_sharded(large)
    assert not is_sharded({"eigenvectors": ("<f4", (20_000_000, 20))})
    assert not is_sharded({"beta": ("<f4", (700, 3_000_000)), "scalar": ("<f8", ())})


# writing and reading


def test_both_forms_hold_the_same(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = write(project)
    other = Project(tmp_path / "other").create()
    single = write_file(other, monkeypatch)
    assert (project.path("cut", "c").is_dir(), other.path("cut", "c").is_file()) == (True, True)
    assert (header.content, header.recipe, header.axes) == (single.content, single.recipe, single.axes)
    assert header.raw["tensors"] == single.raw["tensors"]
    for each in (project, other):
        path = each.path("cut", "c")
        assert each.names("cut") == ["c"] and each.only("cut") == "c"
        assert each.header("cut", "c") == read_header(path)
        assert each.parse("c") == ("cut", "c")
        require_same(load_tensors(path)[1], arrays())
        require_same(open_tensors(path), arrays())
        require_same(map_tensors(path), arrays())
        assert list(check_project(each, deep=True)) == []
        assert [(one.state, one.content) for one in project_states(each)] == [("fresh", header.content)]


def test_plain_safetensors_opens_every_shard_and_the_index_is_canonical(project: Project) -> None:
    write(project)
    folder = project.path("cut", "c")
    assert sorted(bytes_of(folder)) == [*(f"{n:05d}-of-00006.safetensors" for n in range(6)), INDEX]
    shards = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    assert set(shards[0]) == {"eigenvalues", "similarity"}
    for name in ("eigenvectors", "nodes"):
        np.testing.assert_array_equal(np.concatenate([one[name] for one in shards[1:]]), arrays()[name])
    text = (folder / INDEX).read_text()
    assert text == canonical_json(json.loads(text))
    spans = [(one.get("start"), one.get("stop")) for one in json.loads(text)["shards"]]
    assert spans == [(None, None), (0, 10), (10, 20), (20, 30), (30, 40), (40, 47)]


KEYS: tuple[Any, ...] = (
    0, -1, 23, slice(None), slice(3, 35), slice(9, 11), slice(40, 99), slice(5, 2), slice(None, None, 7), slice(-4, None),
    [3, 45, 3, 0], np.array([], int), np.arange(NODES) % 3 == 0, np.array([[1, 2], [46, 0]]), (slice(None), 1),
    (slice(2, 30), 1), (slice(None), slice(0, 2)), (7, 2), (slice(2, 30), slice(1, None)), ([4, 44], slice(None, 2)),
    (slice(None), [0, 2]), ([1, 2], [0, 2]), Ellipsis, (Ellipsis, 1), np.int64(12), (np.int64(12), 1), None,
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_joined_tensor_is_read_like_an_array(project: Project, key: Any) -> None:
    write(project)
    joined, whole = map_tensors(project.path("cut", "c"))["eigenvectors"], arrays()["eigenvectors"]
    found, wanted = joined[key], whole[key]
    assert np.shape(found) == wanted.shape and found.dtype == wanted.dtype
    np.testing.assert_array_equal(np.asarray(found), wanted)


def test_a_joined_tensor_counts_and_compares_like_an_array(project: Project) -> None:
    write(project)
    joined, whole = map_tensors(project.path("cut", "c"))["nodes"], arrays()["nodes"]
    column = joined[:, 1]
    np.testing.assert_array_equal(column[5:25], whole[5:25, 1])
    assert (column[11], int(column[-1]), column[np.int64(2)]) == (whole[11, 1], int(whole[-1, 1]), whole[2, 1])
    np.testing.assert_array_equal(column == 41, whole[:, 1] == 41)
    np.testing.assert_array_equal(1 + joined, 1 + whole)
    np.testing.assert_array_equal(whole[column[:3]], whole[whole[:3, 1]])
    assert joined.max() == whole.max() and joined.astype("f4").dtype == np.float32 and len(joined) == NODES
    assert np.array(joined, np.float64).dtype == np.float64
    for key in (47, [0, 47], -48):
        with pytest.raises(IndexError):
            _ = joined[key]


def test_a_tensor_of_more_shards_than_files_may_be_open_is_read(project: Project) -> None:
    write(project, rows=900)
    there = max(int(path.name) for path in Path("/dev/fd").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (there + 24, hard))
    try:
        tensors = open_tensors(project.path("cut", "c"))
        np.testing.assert_array_equal(tensors["nodes"][5:895], arrays(900)["nodes"][5:895])
        np.testing.assert_array_equal(np.asarray(tensors["nodes"][:, 0]), arrays(900)["nodes"][:, 0])
        require_same(load_tensors(project.path("cut", "c"))[1], arrays(900))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# shards written by tasks


def task(writer: ArtifactWriter, number: int, add: int = 0) -> None:
    start, stop = writer.ranges[number]
    long = {name: arrays(add=add)[name][start:stop] for name in ("eigenvectors", "nodes")}
    writer.write(number, long, MEANINGS)


def committed(writer: ArtifactWriter) -> Header:
    rest = {name: arrays()[name] for name in ("eigenvalues", "similarity")}
    return writer.commit(rest, MEANINGS, axes=axes_of(NODES))


def writer_of(project: Project, add: int = 0, device: str = "cpu") -> ArtifactWriter:
    writer = ArtifactWriter(project.path("cut", "c"), recipe_of(add), NODES, {"device": device})
    writer.open()
    return writer


def test_shards_written_by_tasks_in_any_order_and_twice_give_the_same_bytes(project: Project, tmp_path: Path) -> None:
    for number in (3, 0, 3, 4):
        task(writer_of(project), number)
    assert writer_of(project).missing() == [1, 2]
    assert project.names("cut") == []
    (partial,) = project_states(project)
    assert (partial.state, partial.reason) == ("partial", "3/6 shards")
    assert list(check_project(project, deep=True)) == []
    for number in writer_of(project).missing():
        task(writer_of(project), number)
    header = committed(writer_of(project))
    other = Project(tmp_path / "other").create()
    assert write(other).content == header.content
    assert bytes_of(project.path("cut", "c")) == bytes_of(other.path("cut", "c"))


def test_shards_of_another_recipe_or_other_numerics_count_as_missing(project: Project) -> None:
    task(writer_of(project), 2)
    assert writer_of(project, device="cuda").missing() == [0, 1, 2, 3, 4]
    assert writer_of(project).missing() == [0, 1, 3, 4]
    assert writer_of(project, add=1).missing() == [0, 1, 2, 3, 4]
    assert writer_of(project).missing() == [0, 1, 2, 3, 4]


def test_the_merger_reads_no_range_again_and_a_reader_finds_what_was_damaged(project: Project) -> None:
    writer = writer_of(project)
    for number in range(5):
        task(writer, number)
    flip(writer.partial / NAMES[1])
    committed(writer_of(project))
    with pytest.raises(DataError, match=NAMES[1]):
        load_tensors(project.path("cut", "c"))


def test_a_task_whose_artifact_is_there_already_says_that_nobody_waits(project: Project) -> None:
    late = writer_of(project)
    for number in range(5):
        task(late, number)
    committed(late)
    with pytest.raises(InputMissingError, match="is gone"):
        task(late, 1)
    assert not late.partial.exists()


# verified once


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found: list[Path] = []

    def counting(path: Path, *rest: Any) -> str:
        found.append(path)
        return real(path, *rest)

    real = verify.stored_digest
    monkeypatch.setattr(verify, "stored_digest", counting)
    return found


def test_shards_are_hashed_once_and_never_by_the_run_that_wrote_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project)
    hashed = counted(monkeypatch)
    path = project.path("cut", "c")
    load_tensors(path)
    assert hashed == []
    remove(project.root / ".alignedcut" / "shards.json")
    for read in (load_tensors, open_tensors, load_tensors):
        read(path)
    assert len(hashed) == 6
    os.utime(path / NAMES[1])
    open_tensors(path)
    assert hashed[6:] == [path / NAMES[1]]


# damage


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def exchanged(path: Path) -> None:
    shutil.copy(path.with_name("00002-of-00006.safetensors"), path)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "shard-missing"),
    "truncated": (cut_off, "artifact-truncated"),
    "another run's": (exchanged, "artifact-corrupt"),
    "empty": (lambda path: path.write_bytes(b""), "artifact-foreign"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_shard_is_named_by_all_who_read(project: Project, fault: str, name: str) -> None:
    write(project)
    damage, code = FAULTS[fault]
    damage(project.path("cut", "c") / name)
    for read in (load_tensors, open_tensors, map_tensors):
        with pytest.raises(DataError) as raised:
            read(project.path("cut", "c"))
        assert raised.value.code == code and name in raised.value.message
    (state,) = project_states(project)
    assert (state.state, name in state.reason) == ("corrupt", True)
    assert [(one.where, one.code) for one in check_project(project, deep=False)] == [("cut/c", code)]


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_is_found_by_readers_and_by_check_deep(project: Project, name: str) -> None:
    write(project)
    flip(project.path("cut", "c") / name)
    for read in (load_tensors, open_tensors):
        with pytest.raises(DataError, match=name):
            read(project.path("cut", "c"))
    assert list(check_project(project, deep=False)) == []
    (finding,) = check_project(project, deep=True)
    assert (finding.code, name in finding.message) == ("artifact-corrupt", True)


def test_values_that_are_not_finite_are_found_in_shards(project: Project) -> None:
    poisoned = arrays()
    poisoned["eigenvectors"][33, 1] = np.nan
    path = project.path("cut", "c")
    write_artifact(path, recipe_of(), poisoned, MEANINGS, axes=axes_of(NODES), numerics=NUMERICS)
    (finding,) = check_project(project, deep=True)
    assert (finding.code, "00004-of-00006" in finding.message) == ("not-finite", True)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"schema":99}'])
def test_a_lost_or_foreign_index_is_told_and_can_be_replaced(project: Project, content: bytes | None) -> None:
    write(project)
    index = project.path("cut", "c") / INDEX
    index.unlink() if content is None else index.write_bytes(content)
    assert [(one.name, one.state) for one in project_states(project)] == [("c", "corrupt")]
    with pytest.raises(AlignedcutError):
        project.header("cut", "c")
    write(project)
    assert list(check_project(project, deep=True)) == []


def test_an_index_with_shards_of_another_artifact_is_refused(project: Project) -> None:
    """Every shard is whole and known to the index, but they do not make up its tensors, or its content."""
    write(project)
    folder = project.path("cut", "c")
    raw = json.loads((folder / INDEX).read_text())
    raw.pop("check")
    raw["shards"] = raw["shards"][:-1]
    for content in (raw["content"], ranges.joined_id([one["content"] for one in raw["shards"]])):
        raw["content"] = content
        (folder / INDEX).write_text(canonical_json({**raw, "check": digest(raw)}))
        with pytest.raises(DataError):
            load_tensors(folder)


# one form in the place of the other


def test_a_folder_replaces_a_file_and_a_file_a_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.root / "cut"
    for number, sharded in enumerate((False, True, True, False, False, True)):
        header = write(project, add=number) if sharded else write_file(project, monkeypatch, add=number)
        assert [path.name for path in folder.iterdir()] == ["c" if sharded else "c.safetensors"]
        assert project.header("cut", "c").content == header.content
        require_same(load_tensors(project.path("cut", "c"))[1], arrays(add=number))


class Killed(BaseException):
    """A kill between two steps of a commit."""


def kill_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    left = [steps]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*args, **kwargs)

        return step

    for name in ("rename", "replace", "unlink"):
        patch.setattr(Path, name, counted(getattr(Path, name)))
    patch.setattr(shutil, "rmtree", counted(shutil.rmtree))


@pytest.mark.parametrize("before", ["file", "folder"])
@pytest.mark.parametrize("after", ["file", "folder"])
@pytest.mark.parametrize("steps", range(14))
def test_a_kill_between_any_two_steps_leaves_the_old_or_the_new(
    project: Project, monkeypatch: pytest.MonkeyPatch, before: str, after: str, steps: int
) -> None:
    """What is visible is whole; between the two renames of a folder for a folder it is hidden, until the next command."""
    forms = {
        "file": lambda add: write_file(project, monkeypatch, add=add),
        "folder": lambda add: write(project, add=add),
    }
    old = forms[before](0)
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with contextlib.suppress(Killed):
            forms[after](1)
    if not project.names("cut"):
        assert (before, after) == ("folder", "folder")
        sweep(project)
    found = project.header("cut", "c")
    assert found.content == old.content or found.recipe == recipe_of(1).identity
    require_same(load_tensors(project.path("cut", "c"))[1], arrays(add=found.params["add"]))
    assert {one.code for one in check_project(project, deep=True)} <= {"leftover"}
    sweep(project)
    assert project.header("cut", "c") == found
    assert list(check_project(project, deep=True)) == []
    with project.writing("cut", "c"):
        new = forms[after](1)
    assert [path.name for path in (project.root / "cut").iterdir()] == ["c" if after == "folder" else "c.safetensors"]
    assert project.header("cut", "c").content == new.content


def test_the_writer_finishes_what_a_killed_one_began(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that a folder has replaced, and the folder that a file was to replace, go with the lock."""
    write_file(project, monkeypatch)
    writer = writer_of(project, add=1)
    for number in range(5):
        task(writer, number, add=1)
    with monkeypatch.context() as patch:
        patch.setattr("alignedcut_cli.store.shards.swap_in", lambda *given: None)
        committed(writer)
    writer.partial.rename(writer.folder)
    assert (writer.folder / PLAN).exists() and project.path("cut", "c") == writer.folder
    assert {one.where for one in check_project(project, deep=True)} == {"cut/c/plan.json", "cut/c.safetensors"}
    with project.writing("cut", "c"):
        assert [path.name for path in (project.root / "cut").iterdir()] == ["c"]
        assert not (writer.folder / PLAN).exists()


CHILD = """
import sys
from pathlib import Path
import numpy as np
from alignedcut_cli.store import ranges
from alignedcut_cli.store.project import Project
from tests.store.test_sharded import write
ranges.ROWS = 10
project = Project(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(1, 100_000):
    ranges.LIMIT = 100 if number % 3 else 1 << 30
    with project.writing("cut", "c"):
        write(project, add=number)
"""


def test_kill_9_at_any_moment_leaves_nothing_broken(project: Project) -> None:
    write(project)
    draws = random.Random(0)
    for _ in range(int(os.environ.get("ALIGNEDCUT_KILL_MOMENTS", "4"))):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(project.root)], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        time.sleep(draws.uniform(0.05, 0.5))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert {one.code for one in check_project(project, deep=True)} <= {"leftover"}
        with project.writing("cut", "c"):
            pass
        found = project.header("cut", "c")
        require_same(load_tensors(project.path("cut", "c"))[1], arrays(add=found.params["add"]))
        sweep(project)
        assert list(check_project(project, deep=True)) == []


# what is not ours


def test_a_folder_that_is_no_artifact_is_left_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = project.root / "cut" / "c"
    mine.mkdir(parents=True)
    for name in ("notes.txt", PLAN, INDEX, "model-00001-of-00002.safetensors"):
        (mine / name).write_text("mine")
    assert project.names("cut") == [] and project_states(project) == []
    assert list(check_project(project, deep=True)) == [] and sweep(project) == []
    with pytest.raises(InputMissingError):
        project.header("cut", "c")
    with pytest.raises(OutputExistsError, match="no artifact"):
        write(project)
    write_file(project, monkeypatch)
    assert project.names("cut") == ["c"] and project.path("cut", "c").is_file()
    require_same(load_tensors(project.path("cut", "c"))[1], arrays())
    assert sorted(bytes_of(mine)) == ["index.json", "model-00001-of-00002.safetensors", "notes.txt", "plan.json"]


def test_kinds_that_have_one_form_keep_it(project: Project) -> None:
    write(project)
    shutil.copytree(project.path("cut", "c"), project.root / "reports" / "c")
    assert project.names("reports") == []
    assert project.path("reports", "c").name == "c.html"


def test_what_another_host_left_is_of_the_artifact_that_it_wrote(project: Project) -> None:
    write(project)
    left = project.root / "cut" / ".c.safetensors.node-7.4711.tmp"
    left.write_bytes(b"half")
    with project.writing("cut", "c"):
        assert not left.exists()
        left.write_bytes(b"half")
        assert list(check_project(project, deep=False)) == []  # its writer may be at work
    assert [one.where for one in check_project(project, deep=False)] == [f"cut/{left.name}"]
    assert sweep(project) == [left]


def test_swaps_work_on_names_with_dots(project: Project) -> None:
    writer = ArtifactWriter(project.root / "cut" / "v1.5.safetensors", recipe_of(), NODES, NUMERICS)
    assert (writer.folder.name, partial_folder(writer.folder).name) == ("v1.5", ".v1.5.partial")
    writer.open()
    for number in range(5):
        task(writer, number)
    committed(writer)
    assert project.names("cut") == ["v1.5"]
    assert not old_folder(writer.folder).exists()
    with pytest.raises(AlignedcutError):
        swap_in(writer.folder)
