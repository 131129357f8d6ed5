"""Real photographs and real weights: segments of the last layer must follow the objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alignedcut_cli.core.graph.ncut import ncut_exact
from alignedcut_cli.store.features import FeatureSet

pytestmark = pytest.mark.real

MODELS = ("deit_tiny_patch16_224.fb_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k")
CLUSTERS = 8
LEAST_SHARE = 0.05


def best_segment_iou(features: FeatureSet, masks: Path) -> float:
    """The mean over objects of the best intersection over union with one of 8 segments of their photograph.

    Each photograph is its own graph: k-means of the top 8 eigenvectors of its patches in the last layer's residual
    stream, brought to the photograph's size by nearest neighbour. Objects are the masks that cover at least 5 %.
    """
    from sklearn.cluster import KMeans

    tokens = np.concatenate(features.blocks("tokens.11"))
    found = []
    for image, patches in zip(features.images, tokens[:, 1:], strict=True):
        mask = np.asarray(Image.open(masks / f"{Path(image['path']).stem}.png"))
        cut = ncut_exact(torch.from_numpy(patches.astype(np.float32)), CLUSTERS)
        rows = cut.eigenvectors.numpy() * len(patches) ** 0.5
        labels = KMeans(CLUSTERS, n_init=4, random_state=0).fit_predict(rows).reshape(14, 14).astype(np.uint8)
        segments = np.asarray(Image.fromarray(labels).resize(mask.shape[::-1], Image.Resampling.NEAREST))
        for category in set(np.unique(mask).tolist()) - {0, 255}:
            inside = mask == category
            if inside.mean() >= LEAST_SHARE:
                found.append(max(iou(inside, segments == number) for number in range(CLUSTERS)))
    return float(np.mean(found))


def iou(left: np.ndarray, right: np.ndarray) -> float:
    return float((left & right).sum() / (left | right).sum())


def extract(cli: Callable, real: Path, model: str, weights: Path, project: Path) -> FeatureSet:
    run = cli("extract", real / "coco/images", "-m", model, "--weights", weights, "--tap", "block", "--layers", "11",
              "--name", "last", "-p", project, "-q")  # fmt: skip
    assert run.status == 0, run.err
    return FeatureSet(project / "features" / "last")


@pytest.mark.parametrize("model", MODELS)
def test_segments_of_the_last_layer_follow_objects(cli: Callable, real: Path, tmp_path: Path, model: str) -> None:
    features = extract(cli, real, model, real / "weights" / f"{model}.safetensors", tmp_path)
    score = best_segment_iou(features, real / "coco/semantic")
    print(f"{model}: mean best-segment IoU {score:.3f}")
    assert score >= 0.40


def test_segments_of_an_untrained_model_do_not(cli: Callable, real: Path, tmp_path: Path) -> None:
    """The same network with random weights falls short of the floor, so the floor measures what was learned."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(MODELS[1].split(".")[0], pretrained=False)
    save_file(model.state_dict(), tmp_path / "random.safetensors")
    features = extract(cli, real, MODELS[1], tmp_path / "random.safetensors", tmp_path)
    score = best_segment_iou(features, real / "coco/semantic")
    print(f"random: mean best-segment IoU {score:.3f}")
    assert score < 0.36
