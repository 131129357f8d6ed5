"""Class-agnostic masks: planted objects come out, overlaps go, and scores against regions are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from alignedcut_cli.core.groups.proposals import MOST, OVERLAP, Proposal, mask_proposals, silhouette, suppressed
from alignedcut_cli.core.groups.region_scores import average_recall, region_numbers, region_overlaps

GRID = (10, 12)


def objects() -> list[np.ndarray]:
    """A square and a bar, inside the image."""
    masks = [np.zeros(GRID, bool) for _ in range(2)]
    masks[0][2:5, 2:6] = True
    masks[1][6:9, 5:11] = True
    return masks


def scene(noise: float = 0.1) -> np.ndarray:
    draws = np.random.default_rng(0)
    vectors = np.tile(draws.standard_normal(6), (*GRID, 1))
    for mask in objects():
        vectors[mask] = 2 * draws.standard_normal(6)
    return (vectors + noise * draws.standard_normal(vectors.shape)).astype(np.float32)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def test_planted_objects_are_the_best_masks() -> None:
    found = mask_proposals(scene(), 0)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True) and len(found) <= MOST
    assert [iou(one.mask, mask) for one, mask in zip(found, objects(), strict=False)] == [1, 1]
    for number, one in enumerate(found):
        assert 0.01 <= one.mask.mean() <= 0.9
        assert all(iou(one.mask, other.mask) <= OVERLAP for other in found[:number])
        assert sum(side.any() for side in (one.mask[0], one.mask[-1], one.mask[:, 0], one.mask[:, -1])) < 2
    again = mask_proposals(scene(), 0)
    assert [one.mask.tobytes() for one in again] == [one.mask.tobytes() for one in found]


def test_noise_holds_no_object_of_such_a_score() -> None:
    noise = np.random.default_rng(1).standard_normal((*GRID, 6))
    large = [one.score for one in mask_proposals(noise, 0) if one.mask.sum() > 5]
    planted = [one.score for one in mask_proposals(scene(), 0) if one.mask.sum() > 5]
    assert max(large) < 0.5 < max(planted)


def test_masks_at_borders_stay_where_there_are_no_others() -> None:
    halves = np.zeros((*GRID, 2), np.float32)
    halves[:, :6, 0] = halves[:, 6:, 1] = 1
    found = mask_proposals(halves, 0)
    assert {one.mask.sum() for one in found} == {60}
    assert mask_proposals(np.ones((4, 4, 3), np.float32), 0) == []


def test_the_score_is_the_mean_silhouette_beside_the_nearest_background() -> None:
    rows = np.random.default_rng(2).standard_normal((20, 3))
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    inside = np.arange(20) < 6
    near = sorted(range(6, 20), key=lambda cell: distances[cell, :6].mean())[:6]
    both = [*range(6), *near]
    labels = [0] * 6 + [1] * 6
    assert silhouette(distances, inside) == pytest.approx(silhouette_samples(rows[both], labels).mean())
    mostly = np.arange(20) < 15
    assert silhouette(distances, mostly) == pytest.approx(silhouette_samples(rows, mostly).mean())
    assert silhouette(distances, np.zeros(20, bool)) == 0


def test_of_overlapping_masks_the_better_stays() -> None:
    small, large, other = (np.zeros((4, 5), bool) for _ in range(3))
    small[:2, :4], large[:2], other[3] = True, True, True
    found = suppressed([Proposal(small, 0.2), Proposal(large, 0.5), Proposal(other, 0.1)])
    assert [one.score for one in found] == [0.5, 0.1]
    many = [Proposal(np.eye(1, 400, number, dtype=bool).reshape(20, 20), number / 400) for number in range(300)]
    assert len(suppressed(many)) == MOST and suppressed(many)[0].score == 299 / 400


def test_regions_are_classes_and_instances() -> None:
    classes = np.array([[0, 0, 1], [0, 1, -1]])
    regions, found = region_numbers(classes, np.array([[7, 0, 3], [7, 3, 3]]))
    assert found.tolist() == [[0, 0], [0, 7], [1, 3]] and regions.tolist() == [[1, 0, 2], [1, 2, -1]]
    assert region_numbers(classes, None)[0].tolist() == [[0, 0, 1], [0, 1, -1]]
    masks = [np.array([[True, False, False], [True, True, True]])]
    overlaps = region_overlaps(masks, regions, classes < 0)
    np.testing.assert_allclose(overlaps, [[0, 2 / 3, 1 / 4]])


def test_recall_is_of_regions_that_a_mask_of_their_own_finds() -> None:
    overlaps = [np.array([[0.95, 0.6], [0.9, 0.2]]), np.zeros((0, 1))]
    # one mask: the first region at all ten thresholds but none above .95; two masks: the second region by .2, never
    assert average_recall(overlaps, 1) == pytest.approx(10 / 30)
    assert average_recall([np.array([[0.95, 0.6], [0.9, 0.72]])], 2) == pytest.approx((10 + 5) / 20)
    assert average_recall(overlaps, 100) == pytest.approx(10 / 30)
    assert np.isnan(average_recall([np.zeros((3, 0))], 10))
