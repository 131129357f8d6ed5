"""The best slot, chosen on other images: by loops, by planted worlds, and without the optimism of choosing."""

from __future__ import annotations

import numpy as np
import pytest

from alignedcut_cli.commands.segment.differences import difference_tensors
from alignedcut_cli.core.groups import nested_choice as module
from alignedcut_cli.core.groups.iou import mean_iou
from alignedcut_cli.core.groups.nested_choice import nested_choice
from alignedcut_cli.core.resample.draws import bootstrap_weights, dealt_folds


def counts_of(scores: np.ndarray, images: int = 40, seed: int = 0, shared: float = 0.1) -> np.ndarray:
    """Counts (S, b, 3, 2) of slots with these mean IoUs, about: how hard an image is, slots share."""
    draws = np.random.default_rng(seed)
    hard = shared * draws.standard_normal((1, images, 1))
    share = np.clip(scores[:, None, None] + hard + 0.05 * draws.standard_normal((len(scores), images, 2)), 0.02, 0.98)
    there = np.full(share.shape, 1000)
    both = np.round(there * 2 * share / (1 + share)).astype(np.int64)  # IoU of both / (2000 - both)
    return np.stack([both, there, there], 2)


def test_the_choice_is_that_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, folds = counts_of(np.full(4, 0.5), 13), dealt_folds(13, 5, 0)
    weights = np.vstack([np.ones(13), bootstrap_weights(13, 6, 0)])
    scores, choices = nested_choice(counts, weights, folds)
    for draw, row in enumerate(weights.astype(int)):
        total = np.zeros(counts.shape[2:])
        for fold in range(5):
            outside = [np.einsum("b,bvk->vk", row * (folds != fold), slot) for slot in counts]
            best = int(np.argmax([mean_iou(one) for one in outside]))
            assert choices[draw, fold] == best
            total += np.einsum("b,bvk->vk", row * (folds == fold), counts[best])
        assert scores[draw] == pytest.approx(float(mean_iou(total)))
    monkeypatch.setattr(module, "_CHUNK", 60)
    assert np.array_equal(nested_choice(counts, weights, folds)[0], scores)


def test_folds_are_dealt_evenly() -> None:
    assert np.bincount(dealt_folds(23, 5, 1)).tolist() == [5, 5, 5, 4, 4]
    assert (dealt_folds(23, 5, 1) != dealt_folds(23, 5, 2)).any()


def test_choosing_the_best_of_many_equals_is_optimistic_and_the_nested_score_is_not() -> None:
    best, nested = [], []
    for seed in range(40):
        counts = counts_of(np.full(20, 0.5), 25, seed, shared=0.0)
        best.append(mean_iou(counts.sum(1)).max())
        nested.append(nested_choice(counts, np.ones((1, 25)), dealt_folds(25, 10, seed))[0][0])
    truth = np.mean([mean_iou(counts_of(np.full(20, 0.5), 25, seed, shared=0.0).sum(1)).mean() for seed in range(40)])
    assert np.mean(best) - truth > 0.01
    assert abs(np.mean(nested) - truth) < 0.005


def test_paired_differences_find_what_separate_intervals_hide() -> None:
    """Two curves: slots 0 to 2 with slot 1 best by .05, slots 3 and 4, on images whose difficulty they share."""
    counts = counts_of(np.array([0.5, 0.55, 0.4, 0.5, 0.5]), 60, shared=0.2)
    found = difference_tensors(counts, [[0, 1, 2], [3, 4]], 500, 0)
    between = found["between"]
    assert between[1, 0, 0] == pytest.approx(0.05, abs=0.02)
    assert between[1, 0, 1] > 0 and between[1, 0, 3] < 0.05
    assert between[0, 1].tolist() == [-between[1, 0, 0], -between[1, 0, 2], -between[1, 0, 1], between[1, 0, 3]]
    assert between[3, 4, 1] < 0 < between[3, 4, 2] and between[3, 4, 3] > 0.05
    assert (between[np.arange(5), np.arange(5)] == [0, 0, 0, 1]).all()
    assert found["best.share"][1] > 0.99 and found["best.share"][3:].sum() == pytest.approx(1)
    value, low, high = found["nested"][0]
    assert low < value < high and value == pytest.approx(mean_iou(counts[1].sum(0)))
    assert found["nested.between"][0, 1, 1] > 0
    assert found["nested.between"][0, 1, 0] == pytest.approx(found["nested"][0, 0] - found["nested"][1, 0])
