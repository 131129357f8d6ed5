"""How much the patch tokens of each layer tell of category and figure, trained against random initialisation.

`python -m sample_data.make.probe` prints the table of sample_data/README.md.
"""

import argparse
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import MODELS
from .networks import NETWORKS, build
from .scenes import CATEGORIES, scene

__all__ = ["compare", "layer_tokens", "load_network", "mean_iou", "patch_labels", "probe_layers", "probe_scenes"]

FIRST_SEED = 500_000
"""Seeds of the probe's scenes start here: none of them was trained on."""


def load_network(folder: Path) -> torch.nn.Module:
    """The trained network in `folder`, float32, for evaluation."""
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def patch_labels(category: np.ndarray, side: int = 8) -> np.ndarray:
    """The commonest class of each patch, (rows * columns,) int64, of a mask (H, W); 0 is background."""
    rows, columns = (length // side for length in category.shape)
    blocks = category.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, -1)
    votes = np.stack([(blocks == kind).sum(1) for kind in range(len(CATEGORIES) + 1)], axis=1)
    return votes.argmax(1)


def probe_scenes(count: int, first: int = FIRST_SEED) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 96, 96) in 0..1 and patch labels (n * 144,) of scenes of one to three objects."""
    made = [scene(first + number, objects=(1, 3)) for number in range(count)]
    images = torch.from_numpy(np.stack([one.image for one in made])).permute(0, 3, 1, 2).float() / 255
    return images, torch.from_numpy(np.concatenate([patch_labels(one.category) for one in made]))


@torch.no_grad()
def layer_tokens(network: torch.nn.Module, images: Tensor, name: str) -> list[Tensor]:
    """Patch tokens after every block, one (n * 144, D) a layer."""
    mean, std = (torch.tensor(NETWORKS[name][key]).view(3, 1, 1) for key in ("mean", "std"))
    layers = len(network.blocks)
    chunks = [network.get_intermediate_layers((chunk - mean) / std, n=layers) for chunk in images.split(50)]
    return [torch.cat([chunk[layer] for chunk in chunks]).flatten(0, 1) for layer in range(layers)]


def _fit(tokens: Tensor, labels: Tensor, classes: int, ridge: float, rounds: int) -> Tensor:
    """Weights (D + 1, classes) of multinomial logistic regression, by L-BFGS; no class weights."""
    weights = torch.zeros(tokens.shape[1] + 1, classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=rounds, history_size=10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(tokens @ weights[:-1] + weights[-1], labels) + ridge * weights[:-1].square().sum()
        loss.backward()
        return loss

    optimiser.step(objective)
    return weights.detach()


def mean_iou(guess: Tensor, truth: Tensor, classes: int) -> float:
    """Mean over classes of intersection over union of two label vectors."""
    table = torch.bincount(truth * classes + guess, minlength=classes**2).view(classes, classes).double()
    inter = table.diagonal()
    return (inter / (table.sum(0) + table.sum(1) - inter).clamp_min(1)).mean().item()


def probe_layers(network, name: str, train, test, rounds: int = 60) -> list[tuple[float, float]]:
    """Mean IoU of category (11 classes) and of figure against ground (2), a layer, on the test scenes."""
    results = []
    for fit, held in zip(layer_tokens(network, train[0], name), layer_tokens(network, test[0], name), strict=True):
        centre, spread = fit.mean(0), fit.std(0) + 1e-6
        fit, held = (fit - centre) / spread, (held - centre) / spread
        scores = []
        for truth, goal, classes in ((train[1], test[1], len(CATEGORIES) + 1), (train[1] > 0, test[1] > 0, 2)):
            weights = _fit(fit, truth.long(), classes, 1e-5, rounds)
            scores.append(mean_iou((held @ weights[:-1] + weights[-1]).argmax(1), goal.long(), classes))
        results.append((scores[0], scores[1]))
    return results


def compare(name: str, folder: Path | None = None, scenes: tuple[int, int] = (250, 150), rounds: int = 60) -> dict:
    """Scores of each layer, trained and at random initialisation, and the gain of the best layers in points."""
    train, test = probe_scenes(scenes[0]), probe_scenes(scenes[1], FIRST_SEED + 100_000)
    networks = {"trained": load_network(folder or MODELS / name), "random": build(name, seed=1).eval()}
    table = {key: probe_layers(network, name, train, test, rounds) for key, network in networks.items()}
    best = {key: [max(row[i] for row in rows) for i in range(2)] for key, rows in table.items()}
    gains = [round(100 * (best["trained"][i] - best["random"][i]), 1) for i in range(2)]
    rounded = {key: [[round(value, 3) for value in row] for row in rows] for key, rows in table.items()}
    return {"gain_category": gains[0], "gain_figure": gains[1], **rounded}


def main() -> None:
    """Print the table of all models, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    given = parser.parse_args()
    print("| model | weights | " + " | ".join(f"layer {n}" for n in range(1, 7)) + " | best |")
    print("|---|---|" + "---|" * 7)
    for name in given.names:
        scores = compare(name, given.models / name)
        for kind in ("random", "trained"):
            cells = " | ".join(f"{100 * a:.1f} / {100 * b:.1f}" for a, b in scores[kind])
            best = " / ".join(f"{100 * max(row[i] for row in scores[kind]):.1f}" for i in range(2))
            print(f"| {name} | {kind} | {cells} | {best} |")
        print(f"| {name} | gain | | | | | | | {scores['gain_category']:+.1f} / {scores['gain_figure']:+.1f} |")


if __name__ == "__main__":
    main()
