"""Every layer of a VGG16 built at random, under 4 GB of peak memory however many images there are.

28.6 million units an image in 36 maps: 800 images would be 92 GB at once. ALIGNEDCUT_BENCH_IMAGES sets another number
than 800, ALIGNEDCUT_BENCH_MEMORY another limit than 3.7GiB. The extraction runs in a process of its own.

Floor: one pass of the images through the network (15.5e9 products each, twice as many operations) and one product of each
pair of images over all units. What is above it are the images that are read again because the memory holds only some rows
at a time; the plan counts them beforehand. Their share falls with the memory, and with fewer images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alignedcut_cli.frame.config import memory_bytes
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.maps import read_maps
from tests.conftest import photograph

pytestmark = pytest.mark.benchmark

IMAGES = int(os.environ.get("ALIGNEDCUT_BENCH_IMAGES", "800"))
MEMORY = os.environ.get("ALIGNEDCUT_BENCH_MEMORY", "3.7GiB")
MEASURED = (
    "import resource, sys; from alignedcut_cli.main import main; status = main(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(status)"
)
PRODUCTS = 15.53e9
"""Multiplications of one image in the network."""


def test_vgg16_stays_under_the_limit(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("peak memory is counted in other units here")
    (tmp_path / "photos").mkdir()
    for number in range(IMAGES):
        photograph(number, 320, 240).save(tmp_path / "photos" / f"{number:04d}.jpg", quality=90)
    argv = ["extract", tmp_path / "photos", "-m", "torchvision:vgg16", "--weights", "random", "--tap", "maps"]
    command = [str(word) for word in (*argv, "--memory", MEMORY, "--name", "vgg", "-p", tmp_path / "study", "--json")]
    dry = subprocess.run(
        [sys.executable, "-c", MEASURED, *command, "--dry-run"], check=True, capture_output=True, text=True
    )
    planned = json.loads(dry.stdout)
    counts = {one["what"]: one["count"] for one in planned["counts"]}
    print(
        f"\nplanned: {counts}, {planned['outputs'][0]['bytes'] / 1e9:.1f} GB on disk, {planned['memory'] / 1e9:.2f} GB"
    )
    began = time.monotonic()
    ran = subprocess.run([sys.executable, "-c", MEASURED, *command], check=True, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - began
    peak = int(ran.stderr.split()[-1]) << 10
    there = read_maps(FeatureSet(tmp_path / "study" / "features" / "vgg"))
    print(f"{IMAGES} images, {len(there.maps)} maps of {sum(one.units for one in there.maps) / 1e6:.1f} million units")
    pairs = IMAGES**2 / 2 * sum(one.units for one in there.maps)
    print(f"floor {2 * IMAGES * PRODUCTS / 1e12:.1f} TFLOP in the network, {2 * pairs / 1e12:.1f} between images")
    print(f"{seconds:.0f} s, peak {peak / 1e9:.2f} GB of {memory_bytes(MEMORY) / 1e9:.2f} GB")
    assert len(there.maps) == counts["maps"] == 36
    assert peak <= memory_bytes(MEMORY)
