"""Oracle segmentation against scikit-learn and against a loop over nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score
from torch import Tensor

from alignedcut_cli.core.oracle import oracle_miou

NOTHING = -1


def case(nodes: int, width: int, classes: list[int], seed: int, spread: float) -> tuple[Tensor, Tensor]:
    """Nodes (M, C) float64 around one random centre a class, and labels that name every class."""
    draws = np.random.default_rng(seed)
    labels = np.concatenate([classes, draws.choice(classes, nodes - len(classes))])
    centres = {one: draws.standard_normal(width) for one in classes}
    vectors = np.stack([centres[label] for label in labels]) + spread * draws.standard_normal((nodes, width))
    return torch.from_numpy(vectors), torch.from_numpy(labels)


def assigned(vectors: np.ndarray, labels: np.ndarray, threshold: float, background: int) -> np.ndarray:
    """The class of each node, one node at a time."""
    classes = sorted(set(labels.tolist()))
    centres = [vectors[labels == one].mean(0) for one in classes]
    found = []
    for vector in vectors:
        cosines = [vector @ centre / (np.linalg.norm(vector) * np.linalg.norm(centre)) for centre in centres]
        best = int(np.argmax(cosines))
        outside = background if background in classes else NOTHING
        found.append(outside if cosines[best] < threshold else classes[best])
    return np.array(found)


def by_loop(vectors: np.ndarray, labels: np.ndarray, thresholds: int, background: int) -> list[float]:
    """Mean over classes of |A and B| / |A or B| at each threshold."""
    scores = []
    for step in range(thresholds):
        made = assigned(vectors, labels, step / (thresholds - 1), background)
        each = [((made == k) & (labels == k)).sum() / ((made == k) | (labels == k)).sum() for k in np.unique(labels)]
        scores.append(float(np.mean(each)))
    return scores


@settings(max_examples=60, deadline=None)
@given(
    nodes=st.integers(6, 60),
    width=st.integers(2, 12),
    classes=st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True),
    seed=st.integers(0, 1000),
    spread=st.floats(0.1, 3.0),
    background=st.sampled_from([0, 5]),
)
def test_it_is_the_mean_iou_of_a_loop_and_of_scikit_learn(
    nodes: int, width: int, classes: list[int], seed: int, spread: float, background: int
) -> None:
    """At all thresholds but 1, where a node that is its own centre has cosine 1 but for rounding."""
    vectors, labels = case(nodes, width, classes, seed, spread)
    found = oracle_miou(vectors, labels, thresholds=7, background=background)
    assert (found.shape, found.dtype) == ((7,), torch.float64)
    wanted = by_loop(vectors.numpy(), labels.numpy(), 7, background)
    np.testing.assert_allclose(found[:6], wanted[:6], atol=1e-12)
    for step in range(6):
        made = assigned(vectors.numpy(), labels.numpy(), step / 6, background)
        wanted = jaccard_score(labels, made, labels=np.unique(labels), average="macro", zero_division=0)
        assert float(found[step]) == pytest.approx(wanted, abs=1e-12)


def test_separate_classes_are_found_and_a_shuffle_is_not() -> None:
    vectors, labels = case(400, 10, [0, 3, 8], 0, 0.05)
    assert float(oracle_miou(vectors, labels).max()) == 1
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    assert float(oracle_miou(vectors, shuffled).max()) < 0.5


def test_order_names_of_classes_scale_and_rotation_do_not_matter() -> None:
    vectors, labels = case(80, 6, [0, 2, 7], 1, 1.0)
    wanted = oracle_miou(vectors, labels)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(oracle_miou(vectors[order], labels[order]), wanted)
    torch.testing.assert_close(oracle_miou(vectors, labels * 100), wanted)
    torch.testing.assert_close(oracle_miou(3 * vectors, labels), wanted)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    torch.testing.assert_close(oracle_miou(vectors @ turn, labels), wanted)


def test_without_background_a_node_below_the_threshold_has_no_class() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([1, 1, 2, 2])
    last = float(oracle_miou(vectors, labels, thresholds=2)[1])
    assert last == 0  # no node is exactly its centre, so that none has a class


def test_one_class_alone() -> None:
    vectors, labels = case(20, 4, [0], 2, 1.0)
    assert oracle_miou(vectors, labels).tolist() == [1.0] * 10


def test_half_precision_of_vectors_is_enough() -> None:
    vectors, labels = case(200, 10, [0, 1, 2], 3, 0.2)
    torch.testing.assert_close(oracle_miou(vectors.float(), labels), oracle_miou(vectors, labels), atol=0.02, rtol=0)
