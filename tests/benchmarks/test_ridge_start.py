"""The ridge start beside himalaya's cross-validated ridge on the same mean tokens: time and test R^2.

himalaya is in the group `bench`: `uv run --group bench pytest -m benchmark -s tests/benchmarks/test_ridge_start.py`.
Its penalties are ours in its own scale: 1/n sum_i |W_i beta|^2 of the mean of n slots is n |B|^2 of all slots side by
side. It chooses them on the same held-out images by the same R^2, and is then refitted, by its own rule, on the held-out
images too; a second figure, not timed, is its R^2 when refitted on the same images as ours. ALIGNEDCUT_BENCH_SCALE
(default 1) scales both data sets.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.align.loss import Weights, predict
from alignedcut_cli.core.align.reduced_rank_ridge import ALPHAS
from alignedcut_cli.core.align.scores import r_squared
from alignedcut_cli.core.align.train import Settings, fit_alignment
from alignedcut_cli.main import main
from alignedcut_cli.store.features import FeatureSet
from sample_data.make.brain import TEST, TRAINING, write_brain
from tests.benchmarks.align_once import threads
from tests.benchmarks.made_up import Shape, brain, draw_from, parts, slots

pytestmark = pytest.mark.benchmark

SCALE = float(os.environ.get("ALIGNEDCUT_BENCH_SCALE", "1"))
MIDDLE = Shape(images=3000, slots=12, width=384, voxels=5000).scaled(SCALE)
MODELS = ("tiny-clip", "tiny-dino", "tiny-mae")
ROUNDS = 3
MARGIN = 0.01
"""How far below himalaya's single penalty, refitted on the same images, plain ridge may score at full scale."""


@dataclass(frozen=True)
class Data:
    """Mean tokens (B, D_i) and sampled tokens (B, K, D_i) by slot, responses (B, N), rows, and the best R^2 there is."""

    pooled: list[Tensor]
    tokens: list[np.ndarray]
    responses: Tensor
    fit: Tensor
    heldout: Tensor
    test: slice
    best: float

    @property
    def sizes(self) -> str:
        widths = {mean.shape[1] for mean in self.pooled}
        return (
            f"{len(self.fit)} images to fit, {len(self.heldout)} held out, {self.test.stop - self.test.start} to test; "
            f"{len(self.pooled)} slots x {max(widths)} channels, {self.responses.shape[1]} voxels"
        )

    def score(self, predicted: Tensor) -> float:
        return float(r_squared(predicted, self.responses[self.test]).mean())


@dataclass(frozen=True)
class Result:
    """Test R^2, the same refitted on the images to fit alone where that differs, and what was chosen."""

    score: float
    same_images: float | None
    chosen: str


Method = Callable[[Data], tuple[float, Result]]


@pytest.fixture(scope="module", autouse=True)
def himalaya() -> Iterator[Any]:
    """himalaya with its torch backend, set back to numpy at the end."""
    reason = "himalaya is not installed: uv run --group bench, or uv pip install himalaya"
    module = pytest.importorskip("himalaya.backend", reason=reason)
    torch.set_num_threads(threads())
    module.set_backend("torch")
    yield module
    module.set_backend("numpy")


def simulated(folder: Path) -> Data:
    """The simulated subject seen through the three shipped models: extracted by the command line."""
    training, test = max(100, round(TRAINING * SCALE)), max(50, round(TEST * SCALE))
    subject, project = folder / "subj01", folder / "study"
    write_brain(subject, training, test)
    models = [word for name in MODELS for word in ("--model", name)]
    pictures = [str(subject / f"{kind}_split" / f"{kind}_images") for kind in ("training", "test")]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["extract", *pictures, *models, "--tokens", "sample:8", "-p", str(project), "-q"]) == 0
    sets = [FeatureSet(project / "features" / name) for name in MODELS]
    order = rows_of(sets[0])
    both = [
        [np.load(subject / f"{kind}_split/{kind}_fmri/{side}_{kind}_fmri.npy") for side in ("lh", "rh")]
        for kind in ("training", "test")
    ]
    responses = torch.from_numpy(np.concatenate([np.concatenate(sides, axis=1) for sides in both]))
    ceiling = np.concatenate([np.load(subject / f"noise_ceiling/{side}_noise_ceiling.npy") for side in ("lh", "rh")])
    kept = training - training // 10
    return Data(
        [torch.from_numpy(array[order]) for array in tensors(sets, "pooled")],
        [array[order] for array in tensors(sets, "sampled")],
        responses,
        torch.arange(kept),
        torch.arange(kept, training),
        slice(training, training + test),
        float(ceiling.mean()),
    )


def rows_of(found: FeatureSet) -> np.ndarray:
    """Where in the feature set the images lie: training scenes first, each kind by number."""
    names = [Path(image["path"]).name for image in found.images]
    return np.array(sorted(range(len(names)), key=lambda row: (names[row].startswith("test"), names[row])))


def tensors(sets: list[FeatureSet], kind: str) -> list[np.ndarray]:
    """One array over all images for each slot of each set."""
    names = [(found, f"{kind}.{slot['layer']:02d}") for found in sets for slot in found.slots]
    return [np.concatenate(found.blocks(name)) for found, name in names]


def middling() -> Data:
    """The made-up set of middle size."""
    world = brain(MIDDLE)
    made = list(slots(MIDDLE, world.latents))
    fit, heldout, test = parts(MIDDLE.images)
    responses = torch.cat([world.responses(slice(0, test.start)), world.responses(test)])
    best = float(r_squared(world.signal(test), responses[test]).mean())
    return Data([pooled for pooled, _ in made], [half.numpy() for _, half in made], responses, fit, heldout, test, best)


def ours(agree: float) -> Method:
    """The ridge start alone, which chooses its penalty and its rank."""

    def measured(data: Data) -> tuple[float, Result]:
        settings = Settings(weights=Weights(agree=agree), epochs=0)
        draw = draw_from(data.tokens, torch.device("cpu"))
        known = [mean[: data.test.start] for mean in data.pooled]
        began = time.perf_counter()
        found = fit_alignment(known, data.responses[: data.test.start], draw, data.fit, data.heldout, settings)
        took = time.perf_counter() - began
        assert found.start is not None
        predicted = predict([mean[data.test] for mean in data.pooled], found.transforms, found.beta, found.eps)
        return took, Result(
            data.score(predicted), None, f"penalty {found.start.alpha:.3g} (ours), rank {found.start.rank}"
        )

    return measured


def side_by_side(data: Data) -> tuple[Tensor, list[float]]:
    """All slots' mean tokens (B, sum D_i), centred and scaled as in the ridge start, and our penalties in its scale."""
    blocks = []
    for mean in data.pooled:
        known = mean[data.fit]
        blocks.append((mean - known.mean(0)) / (known - known.mean(0)).square().mean().sqrt())
    length = sum(float(block[data.fit].square().sum(1).mean()) for block in blocks)  # n times that of one slot
    return torch.cat(blocks, 1), [alpha * length for alpha in ALPHAS]


def theirs(per_voxel: bool) -> Method:
    """himalaya, with kernels where there are fewer images than channels."""

    def measured(data: Data) -> tuple[float, Result]:
        from himalaya.kernel_ridge import KernelRidgeCV
        from himalaya.ridge import RidgeCV
        from himalaya.scoring import r2_score
        from sklearn.model_selection import PredefinedSplit

        features, alphas = side_by_side(data)
        split = PredefinedSplit([-1] * len(data.fit) + [0] * len(data.heldout))
        kind = KernelRidgeCV if data.test.start < features.shape[1] else RidgeCV
        known, aim = features[: data.test.start], data.responses[: data.test.start]
        options = {"local_alpha": per_voxel, "score_func": r2_score}
        model = kind(alphas=alphas, cv=split, fit_intercept=True, solver_params=options)
        began = time.perf_counter()
        model.fit(known, aim)
        took = time.perf_counter() - began
        again = refitted(data, features, model.best_alphas_)
        chosen = torch.as_tensor(model.best_alphas_) / len(data.pooled)
        spread = f"{chosen.min():.3g}" if len(chosen.unique()) == 1 else f"{chosen.min():.3g} to {chosen.max():.3g}"
        score = data.score(torch.as_tensor(model.predict(features[data.test])))
        return took, Result(score, again, f"penalty {spread} (ours), {kind.__name__}")

    return measured


def refitted(data: Data, features: Tensor, alphas: Tensor) -> float:
    """Test R^2 of kernel ridge on the images to fit alone, by its equation: K_t (K + alpha)^-1 Y, in float64."""
    known = features[data.fit].double()
    level = data.responses[data.fit].mean(0)
    values, vectors = torch.linalg.eigh(known @ known.T)
    turned = vectors.T @ (data.responses[data.fit] - level).double()
    turned /= values.clamp_min(0)[:, None] + torch.as_tensor(alphas).double()
    return data.score(((features[data.test].double() @ known.T) @ vectors @ turned).float() + level)


METHODS: dict[str, Method] = {
    "ours, agree 0": ours(0.0),
    "ours, agree 0.3": ours(0.3),
    "himalaya, one penalty": theirs(False),
    "himalaya, one a voxel": theirs(True),
}


@pytest.mark.parametrize("source", ["simulated brain", "made up"])
def test_the_ridge_start_beside_himalaya(source: str, tmp_path: Path) -> None:
    data = middling() if source == "made up" else simulated(tmp_path)
    times: dict[str, list[float]] = {name: [] for name in METHODS}
    results: dict[str, Result] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="himalaya|sklearn")
        for _ in range(ROUNDS):
            for name, method in METHODS.items():
                took, results[name] = method(data)
                times[name].append(took)
    print(f"\n{source}: {data.sizes}; {threads()} threads; the best mean R^2 there is: {data.best:.4f}")
    for name, found in results.items():
        same = "" if found.same_images is None else f" ({found.same_images:.4f} from the same images)"
        print(f"{name:22} {statistics.median(times[name]):7.2f} s  R^2 {found.score:.4f}{same}  {found.chosen}")
    reference = results["himalaya, one penalty"].same_images
    assert reference is not None
    if SCALE >= 1:
        assert results["ours, agree 0"].score > reference - MARGIN
