"""Real neurons and RDMs: what `score` gives for layers of a real network, beside values known from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors

pytestmark = pytest.mark.real

NETWORKS = {
    "deit_tiny_patch16_224.fb_in1k": 0.24,
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": 0.26,
    "vit_tiny_patch16_224.random": 0.09,
}
"""The correlation of the best layer's RDM, over the mean of tokens, with that of human IT (316 voxels), 92 images."""


@pytest.mark.parametrize("network", NETWORKS)
def test_the_best_layers_rdm_resembles_human_it_as_known(real: Path, tmp_path: Path, network: str) -> None:
    data, place = real / "brain/kriegeskorte92", ["-p", str(tmp_path), "-q"]
    weights = ["--weights", "random" if network.endswith("random") else str(real / f"weights/{network}.safetensors")]
    seen = [str(data / "images"), "-m", network.split(".")[0], *weights, "--tap", "block", "--tokens", "pooled"]
    assert main(["extract", *seen, "--name", "seen", *place]) == 0
    options = ["--subject", "hITvisStim_316vx", "--compare", "spearman", "--bootstrap", "0", "--permutations", "0"]
    given = ["--brain", str(data / "rdms.npz"), "--from", "seen", *options, "--no-pictures"]
    assert main(["score", *given, "--name", "it", *place]) == 0
    assert float(np.nanmax(load_tensors(tmp_path / "score/it.safetensors")[1]["every"])) == pytest.approx(
        NETWORKS[network], abs=0.006
    )
