"""The bootstrap of a cut: coverage of its intervals over simulated worlds, and real photographs. Prints both tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.graph.bootstrap import bootstrap_cut
from alignedcut_cli.core.graph.lowrank import ncut_lowrank
from alignedcut_cli.core.graph.ncut import Cut
from alignedcut_cli.core.resample.draws import bootstrap_weights
from alignedcut_cli.core.resample.intervals import recentred
from alignedcut_cli.main import main
from tests.conftest import REAL

pytestmark = pytest.mark.benchmark

COUNT, IMAGES, TOKENS, WORLDS, DRAWS = 6, 40, 16, 100, 200


def world(seed: int, images: int) -> Tensor:
    """Nodes of six kinds, whose shares and looks vary from image to image: (images * TOKENS, 8)."""
    centres = 1.5 * torch.randn(6, 8, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(images, 6, generator=generator) ** 2 * torch.linspace(1, 0.3, 6)
    kinds = torch.multinomial(shares, TOKENS, replacement=True, generator=generator)
    look = 0.7 * torch.randn(images, 1, 8, generator=generator)
    return (centres[kinds] + look + torch.randn(images, TOKENS, 8, generator=generator)).reshape(-1, 8)


def cut_of(nodes: Tensor) -> Cut:
    return ncut_lowrank(lambda a, b: nodes[a:b], len(nodes), COUNT, nodes=100, tile=4096)


def test_intervals_of_eigenvalues_cover_those_of_very_many_images() -> None:
    truth = torch.stack([cut_of(world(10_000 + seed, 3000)).eigenvalues for seed in range(2)]).mean(0).double()
    truth = truth / truth[0]
    covered = np.zeros(COUNT - 1)
    for seed in range(WORLDS):
        nodes = world(seed, IMAGES)
        cut = cut_of(nodes)
        assert cut.extension is not None
        places = torch.arange(IMAGES).repeat_interleave(TOKENS)
        draws = torch.from_numpy(bootstrap_weights(IMAGES, DRAWS, seed))
        found = bootstrap_cut(
            lambda a, b, nodes=nodes: nodes[a:b], lambda ids, nodes=nodes: nodes[ids],
            len(nodes), cut.extension, places, draws, COUNT, tile=1024,
        )  # fmt: skip
        for number in range(1, COUNT):
            value = float(cut.eigenvalues[number] / cut.eigenvalues[0])
            low, high = recentred(found.eigenvalues[:, number].numpy(), value)
            covered[number - 1] += low <= truth[number] <= high
    print(f"\n95% intervals of eigenvalues 2 to {COUNT} hold the truth in", covered, f"of {WORLDS} worlds")
    assert (covered >= 0.90 * WORLDS).all() and (covered <= 0.99 * WORLDS).all()


@pytest.mark.skipif(not REAL.exists(), reason="../shared/real is not there")
def test_eight_of_ten_eigenvectors_of_real_photographs_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    folders = sorted(path for path in (REAL / "caltech101").iterdir() if path.is_dir())
    chosen = [photo for folder in folders for photo in sorted(folder.iterdir())[:2]][:200]
    for photo in chosen:
        (photos / f"{photo.parent.name}-{photo.name}").symlink_to(photo)
    weights = REAL / "weights" / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors"
    study = ["-p", str(tmp_path / "study")]
    model = ["-m", "vit_tiny_patch16_224", "--weights", str(weights), "--layers", "8", "--name", "augreg"]
    assert main(["extract", str(photos), *model, *study, "-q"]) == 0
    capsys.readouterr()
    assert main(["cut", "-C", "10", "--nodes", "512", "--bootstrap", "200", "--json", *study]) == 0
    (found,) = json.loads(capsys.readouterr().out)["stability"]
    with capsys.disabled():
        print("\nin the span", found["kept"], "\none by one", found["matches"], "\nstable", found["stable"])
    assert found["stable"] == 8 and found["kept"][9] < 0.85
