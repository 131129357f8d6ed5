"""Every layer of a VGG16 built at random, under 4 GB of peak memory however many images there are.

28.6 million units an image in 36 maps: 800 images would be 92 GB at once. Rows that the memory does not hold go to disk, as
far as that has space, so that each image goes through the network once or a few times. ALIGNEDCUT_BENCH_IMAGES sets another
number than 800, ALIGNEDCUT_BENCH_MEMORY another limit than 3.7GiB. The extraction runs in a process of its own, in the
folder of `--basetemp`.

Floor: one pass of the images through the network (15.5e9 products each, twice as many operations) and one product of each
pair of images over all units; the plan counts both beforehand.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from alignedcut_cli.frame.config import memory_bytes
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.maps import read_maps
from tests.benchmarks.measured import measured
from tests.conftest import photograph

pytestmark = pytest.mark.benchmark

IMAGES = int(os.environ.get("ALIGNEDCUT_BENCH_IMAGES", "800"))
MEMORY = os.environ.get("ALIGNEDCUT_BENCH_MEMORY", "3.7GiB")
PRODUCTS = 15.53e9
"""Multiplications of one image in the network."""


def test_vgg16_stays_under_the_limit(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(IMAGES):
        photograph(number, 320, 240).save(tmp_path / "photos" / f"{number:04d}.jpg", quality=90)
    argv = ["extract", tmp_path / "photos", "-m", "torchvision:vgg16", "--weights", "random", "--tap", "maps"]
    argv += ["--memory", MEMORY, "--name", "vgg", "-p", tmp_path / "study", "--json"]
    planned = json.loads(measured(*argv, "--dry-run").out)
    counts = {one["what"]: one["count"] for one in planned["counts"]}
    print(
        f"\nplanned: {counts}, {planned['outputs'][0]['bytes'] / 1e9:.1f} GB on disk, {planned['memory'] / 1e9:.2f} GB"
    )
    ran = measured(*argv)
    there = read_maps(FeatureSet(tmp_path / "study" / "features" / "vgg"))
    units = sum(one.units for one in there.maps)
    network, between = (counts[f"floating-point operations {what}"] for what in ("of the network", "between images"))
    floor = 2 * IMAGES * PRODUCTS + IMAGES**2 * units
    print(f"{IMAGES} images, {len(there.maps)} maps of {units / 1e6:.1f} million units")
    print(
        f"{network / 1e12:.1f} TFLOP of the network and {between / 1e12:.1f} between images, floor {floor / 1e12:.1f}"
    )
    print(f"{ran} of {memory_bytes(MEMORY) / 1e9:.2f}")
    assert len(there.maps) == counts["maps"] == 36
    assert ran.peak <= memory_bytes(MEMORY)
    if counts["bytes of scratch on disk at once"]:
        assert network + between < 2 * floor
