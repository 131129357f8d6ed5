"""All layers of an AlexNet on 1,000 images against 12,000 voxels by three measures, in 8 GB: `extract`, then `score`.

Images of 276 px give maps of up to 295,936 units (the AlexNet of the DeepJuice tutorial has up to 290,400). Weights and
images are made up: neither changes the time. ALIGNEDCUT_BENCH_SCALE (default 1) scales images and voxels.

Floor of the score, an image pair or voxel at a time: per layer one eigendecomposition and one product a penalty for the
regression, and for each measure what its draws of images take. It is printed as operations beside those that were done in
a second.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.core.encode.ridge import ALPHAS
from alignedcut_cli.frame.config import memory_bytes
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.maps import MapSet, read_maps
from tests.benchmarks.measured import measured
from tests.conftest import photograph

pytestmark = pytest.mark.benchmark

SCALE = float(os.environ.get("ALIGNEDCUT_BENCH_SCALE", "1"))
IMAGES, VOXELS = max(40, round(1000 * SCALE)), max(100, round(12_000 * SCALE))
MEMORY = "7.4GiB"
"""Just below 8e9 bytes."""
DRAWS, ORDERS = 1000, 200
"""The defaults of --bootstrap and --permutations."""
MODEL = ("-m", "torchvision:alexnet", "--image-size", 276, "--weights", "random", "--tap", "maps", "--keep-duplicates")
REGIONS = ("EVC", "OTC", "EBA")


def write_responses(path: Path, there: MapSet) -> None:
    """Responses that two of the layers make, with as much noise as signal, in three regions."""
    random = np.random.default_rng(0)
    found = []
    for number in (4, 15):
        rows = there.matrix(number)[:, :500].astype("f4")
        rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
        found.append(rows @ random.standard_normal((rows.shape[1], VOXELS // 2), "f4") / rows.shape[1] ** 0.5)
    signal = np.concatenate(found, 1)
    responses = signal + random.standard_normal(signal.shape, "f4")
    places = np.arange(signal.shape[1]) * 4 // signal.shape[1]
    masks = {f"rois/{name}": places == place for place, name in enumerate(REGIONS)}
    images = np.array([Path(image["path"]).name for image in there.images])
    np.savez(path, responses=responses, images=images, **masks)


def operations(layers: int) -> float:
    """Floating-point operations of the three measures of all layers, without those of regions."""
    n = IMAGES / 2
    ridge = 9 * n**3 + 2 * n * n * VOXELS * (len(ALPHAS) + 3)
    drawn = 2 * n * VOXELS * (5 * DRAWS + ORDERS)
    pairs = n * n / 2 * (len(REGIONS) + 1) * 2 * (5 * DRAWS + ORDERS) * 2
    return layers * (ridge + drawn + pairs)


def test_an_alexnet_sized_score_in_eight_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(IMAGES):
        photograph(number, 320, 240).save(tmp_path / "photos" / f"{number:04d}.jpg", quality=90)
    place = ("--memory", MEMORY, "-p", tmp_path / "study", "--json")
    extracted = measured("extract", tmp_path / "photos", *MODEL, "--name", "alexnet", *place)
    there = read_maps(FeatureSet(tmp_path / "study" / "features" / "alexnet"))
    print(f"\nextract: {len(there.maps)} maps of up to {max(one.units for one in there.maps):,} units: {extracted}")
    write_responses(tmp_path / "brain.npz", there)
    given = ("--brain", tmp_path / "brain.npz", "--from", "alexnet", "--metric", "crsa,ereg,ersa", "--no-pictures")
    scored = measured("score", *given, *place)
    floor = operations(len(there.maps))
    print(f"score: {IMAGES} images, {VOXELS} voxels, {len(REGIONS)} regions, 3 measures: {scored}")
    print(f"floor {floor / 1e12:.2f} TFLOP: {floor / scored.processor / 1e9:.1f} GFLOP a second of processor time")
    best = {(one["metric"], one["region"]): one for one in json.loads(scored.out)["best"]}
    for (metric, region), row in best.items():
        print(f"  {metric} {region}: {row['layer']}, {row['score']:.3f}")
    assert max(extracted.peak, scored.peak) <= memory_bytes(MEMORY)
    assert len(there.maps) >= 20 and (SCALE < 1 or max(one.units for one in there.maps) >= 290_400)
    assert best["ereg", "EVC"]["score"] > 0.3
