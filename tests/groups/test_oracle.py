"""Oracle segmentation (C.4) against scikit-learn and against a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from alignedcut_cli.core.groups.iou import class_ious, mean_iou, threshold_counts
from alignedcut_cli.core.groups.oracle import ABSENT, class_centres, class_similarities, oracle_thresholds
from alignedcut_cli.core.groups.slot_scores import OracleReading, SlotGrid

VOID = -1


def case(nodes: int, width: int, classes: int, seed: int, spread: float) -> tuple[Tensor, Tensor]:
    """Nodes (M, C) float64 around one random centre a class, and labels that name every class; a tenth are void."""
    draws = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), draws.integers(0, classes, nodes - classes)])
    centres = draws.standard_normal((classes, width))
    vectors = centres[labels] + spread * draws.standard_normal((nodes, width))
    labels[classes:][draws.random(nodes - classes) < 0.1] = VOID
    return torch.from_numpy(vectors), torch.from_numpy(labels)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels + 1, classes + 1)[:, 1:]


def counts_of(vectors: Tensor, labels: Tensor, classes: int, thresholds: int, background: int | None) -> Tensor:
    """Counts (T, 3, k) of nodes taken as pixels."""
    cosines = class_similarities(vectors, class_centres(vectors, one_hot(labels, classes)))
    best, chosen = cosines.max(1)
    return threshold_counts(best, chosen, labels, classes, oracle_thresholds(thresholds), background)


def miou(vectors: Tensor, labels: Tensor, classes: int, background: int | None = 0) -> np.ndarray:
    return mean_iou(counts_of(vectors, labels, classes, 10, background).numpy())


def assigned(vectors: np.ndarray, labels: np.ndarray, threshold: float, background: int | None) -> np.ndarray:
    """The class of each node, one node at a time; VOID where it has none."""
    classes = range(labels.max() + 1)
    centres = [vectors[labels == one].mean(0) for one in classes]
    found = []
    for vector in vectors:
        cosines = [vector @ centre / (np.linalg.norm(vector) * np.linalg.norm(centre)) for centre in centres]
        best = int(np.argmax(cosines))
        outside = VOID if background is None else background
        found.append(outside if cosines[best] < threshold else best)
    return np.array(found)


@settings(max_examples=60, deadline=None)
@given(
    nodes=st.integers(8, 60),
    width=st.integers(2, 12),
    classes=st.integers(1, 6),
    seed=st.integers(0, 1000),
    spread=st.floats(0.1, 3.0),
    background=st.sampled_from([0, None]),
)
def test_iou_at_each_threshold_is_that_of_a_loop_and_of_scikit_learn(
    nodes: int, width: int, classes: int, seed: int, spread: float, background: int | None
) -> None:
    """At all thresholds but 1, where a node that is its own centre has cosine 1 but for rounding."""
    vectors, labels = case(nodes, width, classes, seed, spread)
    found = counts_of(vectors, labels, classes, 7, background)
    assert (found.shape, found.dtype) == ((7, 3, classes), torch.int64)
    counted = labels.numpy() != VOID
    truth = labels.numpy()[counted]
    for step in range(6):
        made = assigned(vectors.numpy(), labels.numpy(), step / 6, background)[counted]
        for one in range(classes):
            both = ((made == one) & (truth == one)).sum()
            assert found[step, :, one].tolist() == [both, (made == one).sum(), (truth == one).sum()]
        each = jaccard_score(truth, made, labels=range(classes), average=None, zero_division=0)
        np.testing.assert_allclose(class_ious(found[step].numpy()), each, atol=1e-12)
        assert mean_iou(found[step].numpy()) == pytest.approx(np.mean(each), abs=1e-12)


def test_centres_are_weighted_means() -> None:
    vectors, weights = torch.randn(9, 4), torch.rand(9, 3)
    weights[:, 1] = 0
    found = class_centres(vectors, weights).numpy()
    assert np.isnan(found[1]).all()
    for one in (0, 2):
        np.testing.assert_allclose(found[one], np.average(vectors, axis=0, weights=weights[:, one]), rtol=1e-5)


def test_similarities_are_cosines_and_a_class_without_centre_is_never_taken() -> None:
    vectors, centres = torch.randn(9, 4), torch.randn(3, 4).double()
    centres[1] = torch.nan
    found = class_similarities(vectors, centres)
    assert found.dtype == torch.float32
    assert (found[:, 1] == ABSENT).all()
    np.testing.assert_allclose(found[:, [0, 2]], cosine_similarity(vectors, centres[[0, 2]]), atol=1e-6)
    assert (found.argmax(1) != 1).all()


def test_separate_classes_are_found_and_a_shuffle_is_not() -> None:
    vectors, labels = case(400, 10, 3, 0, 0.05)
    assert miou(vectors, labels, 3).max() == 1
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    assert miou(vectors, shuffled, 3).max() < 0.5


def test_order_scale_and_rotation_do_not_matter_nor_copies_of_all_nodes() -> None:
    vectors, labels = case(80, 6, 3, 1, 1.0)
    wanted = miou(vectors, labels, 3)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(miou(vectors[order], labels[order], 3), wanted)
    np.testing.assert_allclose(miou(3 * vectors, labels, 3), wanted)
    np.testing.assert_allclose(miou(vectors.repeat(3, 1), labels.repeat(3), 3), wanted)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    np.testing.assert_allclose(miou(vectors @ turn, labels, 3), wanted)


def test_void_changes_nothing() -> None:
    vectors, labels = case(60, 6, 3, 2, 1.0)
    kept = labels >= 0
    assert not kept.all()
    np.testing.assert_array_equal(
        counts_of(vectors, labels, 3, 10, 0), counts_of(vectors[kept], labels[kept], 3, 10, 0)
    )


def test_without_background_a_node_below_the_threshold_has_no_class() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    counts = counts_of(vectors, torch.tensor([0, 0, 1, 1]), 2, 2, None)
    assert counts[1, :2].sum() == 0  # no node is exactly its centre, so that none has a class
    assert counts[1, 2].tolist() == [2, 2]


def test_half_precision_of_vectors_is_enough() -> None:
    vectors, labels = case(200, 10, 3, 3, 0.2)
    np.testing.assert_allclose(miou(vectors.float(), labels, 3), miou(vectors, labels, 3), atol=0.02)


def test_thresholds_are_even() -> None:
    assert oracle_thresholds(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert oracle_thresholds(1).tolist() == [0]


@pytest.mark.parametrize("background", [0, None])
def test_a_similarity_that_equals_the_threshold_keeps_its_class(background: int | None) -> None:
    """C.4: a pixel is background below the threshold. Similarities and thresholds are exact in binary."""
    best = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    chosen, truth, levels = torch.ones(5, dtype=torch.long), torch.tensor([1, 1, 1, 0, 1]), oracle_thresholds(5)
    counts = threshold_counts(best, chosen, truth, 2, levels, background)
    for number, level in enumerate(levels.tolist()):
        kept = [value >= level for value in best.tolist()]
        right = sum(keep and true == 1 for keep, true in zip(kept, truth.tolist(), strict=True))
        assert counts[number, :, 1].tolist() == [right, sum(kept), 4]
        reading = OracleReading(SlotGrid(np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1))), best, level, background)
        outside = -1 if background is None else background
        assert reading.classes_of(best, chosen).tolist() == [1 if keep else outside for keep in kept]
