"""Feature sets: a fixed plan of shards, made one by one, visible whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.features import (
    PLAN,
    SHARD_BYTES,
    FeatureSet,
    FeatureWriter,
    NodeRows,
    finish_swap,
    partial_progress,
    read_index,
    shard_ranges,
)
from alignedcut_cli.store.project import INDEX, Project
from tests.helpers.stores import (
    NUMERICS,
    RANGES,
    commit,
    features_recipe,
    flip,
    make_features,
    shard_tensors,
    snapshot,
    write_shard,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "study").create()


def begun(project: Project, shards: int, **params: object) -> FeatureWriter:
    """A writer that has made the first shards."""
    writer = FeatureWriter(project.path("features", "f"), features_recipe(**params), RANGES)
    writer.open()
    for number in range(shards):
        write_shard(writer, number)
    return writer


@given(st.integers(1, 10_000), st.integers(0, 1 << 40))
def test_the_plan_covers_every_image_once(images: int, size: int) -> None:
    ranges = shard_ranges(images, size)
    assert [image for start, stop in ranges for image in range(start, stop)] == list(range(images))
    step = ranges[0][1]
    assert all(stop - start == step for start, stop in ranges[:-1])
    assert step >= min(8, images)
    assert step * size <= SHARD_BYTES or step == min(8, images)


def test_nothing_is_visible_before_the_commit_and_the_index_comes_last(project: Project) -> None:
    writer = begun(project, 0)
    assert writer.missing() == [0, 1, 2]
    for number in range(3):
        assert partial_progress(writer.folder) == (number, 3)
        write_shard(writer, number)
        assert project.names("features") == []
        assert not (writer.partial / INDEX).exists()
    assert writer.missing() == []
    header = commit(writer)
    assert project.names("features") == ["f"]
    assert project.header("features", "f") == header == read_index(writer.folder)
    assert sorted(path.name for path in writer.folder.iterdir()) == [*(writer.shard_name(n) for n in range(3)), INDEX]
    assert partial_progress(writer.folder) is None


def test_what_was_written_is_read(project: Project) -> None:
    header = make_features(project)
    features = FeatureSet(project.path("features", "f"))
    np.testing.assert_array_equal(np.concatenate(features.blocks("tokens.00")), shard_tensors(0, 20)["tokens.00"])
    assert header.raw["tensors"]["tokens.00"]["shape"] == [20, 5, 4]
    assert len(list(features.tensors())) == 6
    with pytest.raises(DataError, match="holds no tokens"):
        features.blocks("tokens.07")


def test_what_a_killed_run_left_half_written_is_not_committed(project: Project) -> None:
    writer = begun(project, 3)
    for left in (".00002-of-00003.safetensors.4711.tmp", "group.json"):
        (writer.partial / left).write_bytes(b"half")
    commit(writer)
    assert sorted(path.name for path in writer.folder.iterdir()) == [*(writer.shard_name(n) for n in range(3)), INDEX]


@pytest.mark.parametrize("stopped_after", [0, 1, 2, 3])
def test_a_resumed_set_has_the_same_bytes(project: Project, tmp_path: Path, stopped_after: int) -> None:
    other = Project(tmp_path / "other").create()
    make_features(other)
    begun(project, stopped_after)
    writer = begun(project, 0)
    assert writer.missing() == list(range(stopped_after, 3))
    make_features(project)
    found, wanted = (snapshot(each.path("features", "f")) for each in (project, other))
    assert {path: content for path, (_, content) in found.items()} == {path: c for path, (_, c) in wanted.items()}


def test_shards_that_are_cut_off_foreign_or_of_another_place_count_as_missing(project: Project) -> None:
    writer = begun(project, 3)
    shards = [writer.partial / writer.shard_name(number) for number in range(3)]
    shutil.copy(shards[0], shards[1])
    shards[2].write_bytes(shards[2].read_bytes()[:-1])
    assert writer.missing() == [1, 2]
    shards[0].write_bytes(b"something else")
    assert writer.missing() == [0, 1, 2]
    other = FeatureWriter(writer.folder, features_recipe(layers=[1]), RANGES)
    write_shard(writer, 0)
    assert writer.missing() == [1, 2]
    assert other.missing() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"null", b'{"recipe": "x"}'])
def test_a_broken_plan_is_begun_again_and_stops_nothing_else(project: Project, content: bytes) -> None:
    writer = begun(project, 2)
    (writer.partial / PLAN).write_bytes(content)
    assert writer.recorded_plan() is None
    assert partial_progress(writer.folder) is None
    make_features(project)
    assert project.names("features") == ["f"]
    assert len(FeatureSet(writer.folder).layouts) == 3


def test_work_of_another_recipe_is_cleared_away(project: Project) -> None:
    writer = begun(project, 2, layers=[1])
    (writer.partial / "stray.txt").write_text("stray")
    other = begun(project, 0)
    assert other.missing() == [0, 1, 2]
    assert [path.name for path in other.partial.iterdir()] == [PLAN]


def test_work_with_another_plan_of_shards_is_cleared_away(project: Project) -> None:
    begun(project, 2)
    writer = FeatureWriter(project.path("features", "f"), features_recipe(), [(0, 10), (10, 20)])
    writer.open()
    for number in writer.missing():
        write_shard(writer, number)
    commit(writer)
    assert sorted(path.name for path in writer.folder.glob("*.safetensors")) == [writer.shard_name(n) for n in range(2)]


def test_the_old_set_stays_until_the_new_one_is_committed(project: Project) -> None:
    make_features(project)
    folder = project.path("features", "f")
    before = snapshot(folder)
    writer = FeatureWriter(folder, features_recipe(layers=[1]), RANGES)
    writer.open()
    for number in range(3):
        write_shard(writer, number, add=1)
        assert snapshot(folder) == before
    header = commit(writer)
    assert project.header("features", "f").content == header.content
    assert [path.name for path in folder.parent.iterdir()] == ["f"]
    np.testing.assert_array_equal(
        np.concatenate(FeatureSet(folder).blocks("tokens.00")), shard_tensors(0, 20, add=1)["tokens.00"]
    )


class Killed(BaseException):
    """A kill between two steps of a commit."""


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("steps", range(6))
def test_a_kill_between_any_two_steps_of_a_commit_is_mended(
    project: Project, monkeypatch: pytest.MonkeyPatch, steps: int, replaced: bool
) -> None:
    """Steps are renames and removals; after each, finish_swap leaves a whole set, old or new."""
    folder = project.path("features", "f")
    old = make_features(project) if replaced else None
    writer = FeatureWriter(folder, features_recipe(layers=[1]), RANGES)
    writer.open()
    for number in range(3):
        write_shard(writer, number, add=1)
    left = [steps]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*args, **kwargs)

        return step

    with monkeypatch.context() as patched:
        for name in ("rename", "unlink"):
            patched.setattr(Path, name, counted(getattr(Path, name)))
        patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
        try:
            commit(writer)
        except Killed:
            pass
        else:
            assert steps >= 2 + replaced
    finish_swap(folder)
    if folder.exists():
        assert len(FeatureSet(folder).layouts) == 3
        assert not (folder / PLAN).exists()
        done = project.header("features", "f")
        assert old is None or done.content == old.content or done.recipe == writer.recipe.identity
    else:
        assert not replaced
    make_features(project, add=1, layers=[1])
    assert [path.name for path in folder.parent.iterdir()] == ["f"]
    assert project.header("features", "f").recipe == writer.recipe.identity


def test_finish_swap_from_every_state_between_the_renames(project: Project, tmp_path: Path) -> None:
    """(old, folder, partial with or without index) as a kill leaves them, and what must be there afterwards."""
    make_features(project)
    old = tmp_path / "old"
    shutil.copytree(project.path("features", "f"), old)
    new = tmp_path / "new"
    make_features(Project(tmp_path / "p2").create(), add=1, layers=[1])
    shutil.copytree(tmp_path / "p2" / "features" / "f", new)
    (new / PLAN).write_text("{}")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(new, unfinished)
    (unfinished / INDEX).unlink()
    cases = [
        ((old, None, new), new),
        ((old, new, None), new),
        ((None, new, None), new),
        ((None, old, unfinished), old),
        ((old, None, unfinished), old),
        ((old, None, None), old),
    ]
    for number, (states, wanted) in enumerate(cases):
        folder = tmp_path / f"case-{number}" / "f"
        for source, path in zip(
            states, (folder.with_name(".f.old"), folder, folder.with_name(".f.partial")), strict=True
        ):
            if source:
                shutil.copytree(source, path)
        finish_swap(folder)
        assert read_index(folder) == read_index(wanted), number
        assert not folder.with_name(".f.old").exists(), number
        assert not (folder / PLAN).exists(), number
        assert folder.with_name(".f.partial").exists() == (states[2] is unfinished), number
        assert not finish_swap(folder), number


def test_a_lost_or_exchanged_shard_is_named(project: Project) -> None:
    make_features(project)
    folder = project.path("features", "f")
    shards = sorted(folder.glob("*.safetensors"))
    shutil.copy(shards[0], shards[1])
    with pytest.raises(DataError, match=r"00001-of-00003\.safetensors is of another run"):
        _ = FeatureSet(folder).layouts
    shards[1].unlink()
    with pytest.raises(DataError, match=r"00001-of-00003\.safetensors is gone"):
        _ = FeatureSet(folder).layouts


def test_a_damaged_index_is_refused(project: Project) -> None:
    make_features(project)
    folder = project.path("features", "f")
    whole = (folder / INDEX).read_bytes()
    flip(folder / INDEX, whole.index(b'"size":20') + 8)
    with pytest.raises(DataError):
        read_index(folder)
    for content in (b"", whole[:-1], b"[]", b"\xff", b"[" * 100_000):
        (folder / INDEX).write_bytes(content)
        with pytest.raises(DataError):
            read_index(folder)


@given(st.data(), st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(1, 3), st.integers(1, 4))
def test_node_rows_are_the_concatenation(data: st.DataObject, sizes: list[int], tokens: int, width: int) -> None:
    ends = np.cumsum([0, *sizes])
    whole = np.arange(ends[-1] * tokens * width, dtype=np.float16).reshape(-1, tokens, width)
    rows = NodeRows([whole[start:stop] for start, stop in pairwise(ends)])
    flat = whole.reshape(-1, width)
    assert (len(rows), rows.width) == (len(flat), width)
    start = data.draw(st.integers(0, len(flat)))
    stop = data.draw(st.integers(start, len(flat)))
    found = rows.rows(start, stop)
    assert found.dtype == np.float16
    assert found.flags.owndata
    np.testing.assert_array_equal(found, flat[start:stop])


def test_shards_of_one_kind_of_device_are_not_mixed_with_those_of_another(project: Project) -> None:
    """Shards of another count as missing, a run of another is refused, and may finish what is whole."""
    folder = project.path("features", "f")
    here = FeatureWriter(folder, features_recipe(), RANGES, numerics=NUMERICS)
    here.open()
    write_shard(here, 0)
    there = FeatureWriter(folder, features_recipe(), RANGES, numerics={"device": "cuda"})
    assert there.missing() == [0, 1, 2]
    with pytest.raises(DataError, match="begun with device cpu; this run has device cuda"):
        there.open()
    for number in (1, 2):
        write_shard(here, number)
    there = FeatureWriter(folder, features_recipe(), RANGES, numerics={"device": "cuda"})
    there.open()
    assert there.missing() == [] and there.numerics == NUMERICS
    commit(there)
    assert project.names("features") == ["f"]


def test_jobs_that_open_a_set_together_begin_it_once(project: Project) -> None:
    """None removes what another has written since."""
    writers = [FeatureWriter(project.path("features", "f"), features_recipe(), RANGES) for _ in RANGES]

    def job(number: int) -> None:
        writers[number].open()
        write_shard(writers[number], number)

    with ThreadPoolExecutor(len(RANGES)) as pool:
        list(pool.map(job, range(len(RANGES))))
    assert writers[0].missing() == []


def test_a_shard_that_comes_after_the_commit_is_not_written(project: Project) -> None:
    writer = begun(project, 3)
    late = begun(project, 0)
    commit(writer)
    before = snapshot(writer.folder)
    write_shard(late, 1)
    assert late.missing() == []
    assert snapshot(writer.folder) == before and not writer.partial.exists()
