"""Macaque V4: how well blocks of real networks, and of a random one, predict neurons, beside a prototype's values.

The prototype took the outputs of AugReg's blocks, all 197 tokens flattened, each unit standardised on the train images, and
a dual ridge with the leave-one-out penalty of each neuron, on even images to predict odd ones. `extract --standardise` does
the same with moments of all images (no responses are seen), and keeps products between images alone. 1,200 photographs, a
few minutes a network. ALIGNEDCUT_BENCH_BLOCKS sets another list than the prototype's odd blocks.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors

pytestmark = [pytest.mark.benchmark, pytest.mark.real]

BLOCKS = [int(one) for one in os.environ.get("ALIGNEDCUT_BENCH_BLOCKS", "1,3,5,7,9,11").split(",")]
PROTOTYPE = {1: 0.510, 3: 0.546, 5: 0.523, 7: 0.478, 9: 0.445, 11: 0.430}
AUGREG = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
CASES = [(AUGREG, "201025"), ("deit_tiny_patch16_224.fb_in1k", "201025"), ("vit_tiny_patch16_224.random", "201025")]


@pytest.mark.parametrize(("network", "session"), [*CASES, (AUGREG, "190923")])
def test_v4_is_predicted_by_middle_blocks(real: Path, tmp_path: Path, network: str, session: str) -> None:
    data = real / "brain/macaque_v4" / session
    weights = "random" if network.endswith("random") else str(real / f"weights/{network}.safetensors")
    modules = [word for block in BLOCKS for word in ("--modules", f"blocks.{block}")]
    place = ["-p", str(tmp_path), "-q"]
    given = [str(data / "images"), "-m", network.split(".")[0], "--weights", weights, "--tap", "maps", *modules]
    reached: dict[str, list[float]] = {}
    for name, options in (("each unit standardised", ["--standardise"]), ("as they are", [])):
        source = name.split()[0]
        assert main(["extract", *given, *options, "--name", source, *place]) == 0
        brain = ["--brain", str(data / "responses.npz"), "--from", source, "--metric", "ereg", "--name", source]
        assert main(["score", *brain, "--permutations", "0", "--no-pictures", *place]) == 0
        tensors = load_tensors(tmp_path / f"score/{source}.safetensors")[1]
        reached[name] = tensors["test"][:, 0, 0].tolist()
        low, high = tensors["best.interval"][0, 0]
        told = " ".join(f"{one:.3f}" for one in reached[name])
        print(
            f"\n{network}, {session}, units {name}: {told}; best {tensors['best.score'][0, 0]:.3f} [{low:.3f}, {high:.3f}]"
        )
    if network == AUGREG and session == "201025":
        for block, score in zip(BLOCKS, reached["each unit standardised"], strict=True):
            assert block not in PROTOTYPE or abs(score - PROTOTYPE[block]) < 0.01
    if network.endswith("random"):
        assert max(map(max, reached.values())) < 0.4
