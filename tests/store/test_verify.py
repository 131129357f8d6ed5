"""Feature shards are verified before they are read, and again where something about their files has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignedcut_cli.errors import DataError, PermissionDeniedError
from alignedcut_cli.store import verify
from alignedcut_cli.store.artifact import read_layout, write_tensors
from alignedcut_cli.store.canonical import stored_digest, tensor_digest
from alignedcut_cli.store.features import FeatureSet, FeatureWriter
from alignedcut_cli.store.hashes import SHARDS, HashCache
from alignedcut_cli.store.project import Project
from tests.helpers.stores import RANGES, commit, features_recipe, flip, make_features, write_shard


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "study").create()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed, as they are."""
    found: list[str] = []

    def counted(path: Path, places: Any) -> str:
        found.append(path.name)
        return stored_digest(path, places)

    monkeypatch.setattr(verify, "stored_digest", counted)
    return found


def shards(project: Project) -> list[Path]:
    return sorted(project.path("features", "f").glob("*.safetensors"))


def read(project: Project, **options: Any) -> list[np.ndarray]:
    return FeatureSet(project.path("features", "f"), **options).blocks("tokens.00")


def test_the_digest_of_a_file_is_that_of_its_tensors(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    kinds = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")
    tensors = {kind: draws.integers(0, 2, (3, 5)).astype(kind) for kind in kinds}
    tensors |= {"empty": np.zeros((0, 4), "f4"), "long": draws.random((700, 500))}
    write_tensors(tmp_path / "a.safetensors", tensors, {})
    assert stored_digest(tmp_path / "a.safetensors", read_layout(tmp_path / "a.safetensors").offsets) == tensor_digest(
        tensors
    )


def test_what_was_just_written_is_not_hashed_until_asked(project: Project, hashed: list[str]) -> None:
    make_features(project)
    read(project)
    assert hashed == []
    read(project, verify=True)
    assert sorted(hashed) == [path.name for path in shards(project)]


def test_one_bit_in_a_shard_is_found_by_whoever_reads_it_and_by_no_one_else(
    project: Project, hashed: list[str]
) -> None:
    make_features(project)
    flip(shards(project)[1])
    features = FeatureSet(project.path("features", "f"))
    features.require("tokens.00")
    assert len(features.layouts) == 3
    assert hashed == []
    for _ in range(2):
        with pytest.raises(DataError, match=rf"{shards(project)[1].name}: the tensors do not match") as told:
            read(project)
        assert told.value.code == "artifact-corrupt"
    flip(shards(project)[1])
    read(project)
    hashed.clear()
    read(project)
    assert hashed == []


@pytest.mark.parametrize("change", [os.utime, lambda path: path.rename(path.with_suffix(".x")).rename(path)])
def test_only_the_file_that_changed_is_hashed(
    project: Project, hashed: list[str], change: Callable[[Path], object]
) -> None:
    """Another time, or another time of the inode: hashed once, found whole, and known from then on."""
    make_features(project)
    change(shards(project)[2])
    for _ in range(2):
        read(project)
    assert hashed == [shards(project)[2].name]


def test_a_bit_that_turned_on_the_disk_itself_is_found_by_verify(project: Project) -> None:
    """Nothing about the file says so: size, times and inode are those that were verified."""
    make_features(project)
    path = shards(project)[0]
    flip(path)
    cache = HashCache(project, SHARDS)
    cache.put(path, {"content": FeatureSet(path.parent).header.raw["shards"][0]["content"]})
    cache.save()
    read(project)
    with pytest.raises(DataError, match="do not match"):
        read(project, verify=True)


def test_shards_of_a_run_before_are_hashed_once(project: Project, hashed: list[str]) -> None:
    """A resumed extraction looks at the headers of what is there: only what it wrote itself counts as verified."""
    first = FeatureWriter(project.path("features", "f"), features_recipe(), RANGES)
    first.open()
    write_shard(first, 0)
    write_shard(first, 1)
    flip(first.partial / first.shard_name(1))
    again = FeatureWriter(project.path("features", "f"), features_recipe(), RANGES)
    assert again.missing() == [2]
    write_shard(again, 2)
    commit(again)
    with pytest.raises(DataError, match=again.shard_name(1)):
        read(project)
    assert again.shard_name(2) not in hashed


def test_where_the_cache_cannot_be_written_shards_are_verified_all_the_same(
    project: Project, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_features(project)
    (project.root / ".alignedcut" / SHARDS).unlink()

    def fail(path: Path, text: str) -> None:
        raise PermissionDeniedError("read-only", str(path), "")

    monkeypatch.setattr("alignedcut_cli.store.hashes.writing_text", fail)
    for _ in range(2):
        read(project)
    assert len(hashed) == 6
    flip(shards(project)[0])
    with pytest.raises(DataError, match="do not match"):
        read(project)


def test_what_takes_a_while_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    make_features(project)
    told: list[str] = []
    read(project, verify=True, say=told.append)
    assert told == []
    monkeypatch.setattr(verify, "LARGE", 1000)
    read(project, verify=True, say=told.append)
    assert len(told) == 1
    assert told[0].startswith(f"verifying 3 shards of {project.path('features', 'f')}, ")
