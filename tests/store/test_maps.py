"""Sets of maps: a shard a map, and one reader for them and for ordinary feature sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.maps import read_maps
from alignedcut_cli.store.project import Project
from tests.helpers.maps import make_maps
from tests.helpers.stores import flip, make_features

IMAGES = [f"{number}.png" for number in range(6)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "study").create()


def drawn(units: int) -> np.ndarray:
    return np.random.default_rng(units).standard_normal((len(IMAGES), units)).astype(np.float32)


def test_every_map_is_read_alone_whatever_its_width(project: Project) -> None:
    rows = {"first": drawn(7), "second": drawn(9), "third": drawn(3)}
    make_maps(project, "m", rows, IMAGES)
    there = read_maps(FeatureSet(project.path("features", "m")))
    assert [(one.number, one.name, one.units, one.depth) for one in there.maps] == [
        (0, "first", 7, 0.0),
        (1, "second", 9, 0.5),
        (2, "third", 3, 1.0),
    ]
    for one in there.maps:
        wide = rows[one.name].astype(np.float64)
        np.testing.assert_allclose(there.gram(one.number), wide @ wide.T, rtol=1e-12)
        np.testing.assert_allclose(there.sums(one.number), wide.sum(1), rtol=1e-12)
        np.testing.assert_array_equal(there.matrix(one.number), rows[one.name])
        np.testing.assert_array_equal(there.raw(one.number), rows[one.name])
    assert [image["path"] for image in there.images] == IMAGES
    assert list(check_project(project, deep=True)) == []


def test_an_ordinary_feature_set_gives_the_means_of_its_layers(project: Project) -> None:
    make_features(project)
    features = FeatureSet(project.path("features", "f"))
    there = read_maps(features)
    pooled = np.concatenate(features.blocks("pooled.00"))
    assert [(one.name, one.units, one.projected) for one in there.maps] == [("attn.00", 4, 0)]
    np.testing.assert_array_equal(there.matrix(0), pooled)
    np.testing.assert_allclose(there.gram(0), pooled.astype(np.float64) @ pooled.T.astype(np.float64))


def test_a_damaged_missing_or_strange_shard_is_refused(project: Project) -> None:
    make_maps(project, "m", {"first": drawn(7), "second": drawn(9)}, IMAGES)
    folder = project.path("features", "m")
    shards = sorted(folder.glob("*.safetensors"))
    whole = shards[1].read_bytes()
    flip(shards[1])
    with pytest.raises(DataError, match="00001-of-00002"):
        read_maps(FeatureSet(folder)).gram(0)
    shards[1].write_bytes(shards[0].read_bytes())
    with pytest.raises(DataError, match="of another run"):
        read_maps(FeatureSet(folder)).gram(0)
    shards[1].unlink()
    with pytest.raises(DataError, match="is gone"):
        read_maps(FeatureSet(folder)).gram(0)
    shards[1].write_bytes(whole)
    assert read_maps(FeatureSet(folder)).gram(1).shape == (6, 6)


def test_what_a_set_does_not_hold_is_said_with_what_gives_it(project: Project) -> None:
    make_maps(project, "m", {"first": drawn(7)}, IMAGES)
    make_features(project)
    with pytest.raises(DataError, match=r"holds no tokens .*--tap maps"):
        FeatureSet(project.path("features", "m")).require("tokens.00")
    with pytest.raises(DataError, match="holds no gram"):
        FeatureSet(project.path("features", "f")).require("gram.000")


def test_slots_that_are_no_maps_are_refused(project: Project) -> None:
    make_maps(project, "m", {"first": drawn(7)}, IMAGES)
    features = FeatureSet(project.path("features", "m"))
    raw = json.loads(json.dumps(features.header.raw))
    del raw["axes"]["S"]["slots"][0]["units"]
    features.header = type(features.header)(raw)
    with pytest.raises(DataError, match="are no maps"):
        read_maps(features)
