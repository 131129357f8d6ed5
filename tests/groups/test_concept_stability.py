"""What comes back of a concept: overlaps counted by hand, and planted concepts of which some hang on one image."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.groups.centres import ball_members, farthest_centres
from alignedcut_cli.core.groups.concept_stability import UNSTABLE, best_overlaps, drawn_overlaps, seeded_overlaps
from alignedcut_cli.core.resample.draws import bootstrap_weights

IMAGES, EACH = 30, 8


def overlaps_of_sets(one: np.ndarray, other: np.ndarray, count: int) -> list[float]:
    """Intersection over union, set by set."""
    groups = [set(np.flatnonzero(other == label)) for label in range(int(other.max()) + 1)]
    found = []
    for label in range(count):
        mine = set(np.flatnonzero(one == label))
        found.append(max((len(mine & group) / len(mine | group) for group in groups), default=0.0) if mine else np.nan)
    return found


def test_overlaps_are_those_of_the_sets() -> None:
    random = np.random.default_rng(0)
    for count, others in ((4, 3), (3, 6), (5, 1)):
        one, other = random.integers(-1, count, 60), random.integers(-1, others, 60)
        one[one == count - 1] = -1  # the last has no place
        np.testing.assert_allclose(best_overlaps(one, other, count), overlaps_of_sets(one, other, count))
    np.testing.assert_array_equal(best_overlaps(np.array([0, 1, 1]), np.full(3, -1), 2), [0, 0])


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Places, images, concept of each, and which concept one image alone has: the last."""
    random = np.random.default_rng(1)
    images = np.repeat(np.arange(IMAGES), EACH)
    kinds = np.tile(np.arange(EACH) % 3, IMAGES)
    kinds[images == 7] = 3
    centres = 10.0 * np.eye(4, 3) - 5 * np.eye(4, 3, -3)[:, :3] + np.array([[0, 0, 0]] * 3 + [[-9, -9, -9]])
    places = centres[kinds] + 0.3 * random.normal(size=(len(kinds), 3))
    first = farthest_centres(places, 4, 0)
    return places, images, ball_members(places, places[first], 3.0), kinds


def test_concepts_of_many_images_come_back_and_those_of_one_do_not() -> None:
    places, images, concept, kinds = planted()
    rare = int(concept[kinds == 3][0])
    draws = bootstrap_weights(IMAGES, 60, 0)
    found = drawn_overlaps(places, concept, images, draws, 4, 3.0, 0)
    common = np.delete(found.mean(0), rare)
    assert (common > 0.85).all()
    assert found[draws[:, 7] == 0][:, rare].max() < UNSTABLE
    assert found[draws[:, 7] > 0][:, rare].min() > 0.95
    assert (seeded_overlaps(places, concept, 4, 3.0, [1, 2, 3]) > 0.95).all()


def test_one_cloud_parted_at_will_is_unstable() -> None:
    random = np.random.default_rng(3)
    places, images = random.normal(size=(IMAGES * EACH, 3)), np.repeat(np.arange(IMAGES), EACH)
    centres = places[farthest_centres(places, 5, 0)]
    concept = ball_members(places, centres, 1.5)
    assert np.nanmean(seeded_overlaps(places, concept, 5, 1.5, range(1, 9))) < 0.7
    assert np.nanmean(drawn_overlaps(places, concept, images, bootstrap_weights(IMAGES, 30, 0), 5, 1.5, 0)) < 0.7
