"""How often the product's 95 % intervals hold the truth, in repeated studies of simulated worlds: one table of all.

    pytest -m benchmark -s tests/benchmarks/test_coverage.py

Each world has a population of images; a study draws some of them, and its interval should hold the population's score in 90
to 99 of 100. RDMs, ridge encoding and CKA are in tests/encode/test_coverage.py, in the default run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from alignedcut_cli.core.align.influence import roi_scores
from alignedcut_cli.core.encode.resampling import rank_correlation
from alignedcut_cli.core.groups.activations import Clusters, clustered_difference, clustered_mean
from alignedcut_cli.core.groups.information import adjusted_information, information_of_images
from alignedcut_cli.core.groups.iou import bootstrap_interval, iou_draws, mean_iou
from alignedcut_cli.core.groups.nested_choice import nested_choice
from alignedcut_cli.core.groups.transitions import mean_by_image
from alignedcut_cli.core.resample.draws import bootstrap_weights, dealt_folds, mean_over_drawn
from alignedcut_cli.core.resample.intervals import (
    bca,
    clustered_error,
    from_error,
    linear_difference,
    paired_difference,
    percentile,
)

pytestmark = pytest.mark.benchmark

STUDIES, IMAGES, POPULATION, DRAWS = 200, 60, 20_000, 400
Ends = tuple[float, float]
World = Callable[[int, int], tuple[float, Ends]]
"""Of a number of images and a seed: the score, and its interval."""


def ends(low: object, high: object) -> Ends:
    return float(np.asarray(low)), float(np.asarray(high))


def counts_of(images: int, seed: int, slots: int = 2) -> np.ndarray:
    """Counts (S, b, 3, 4) of slots on the same images: how hard an image is, they share; not all hold each class."""
    draws = np.random.default_rng(seed)
    hard = draws.normal(0, 0.12, (1, images, 1))
    share = np.clip(0.6 + 0.03 * np.arange(slots)[:, None, None] + hard
                    + draws.normal(0, 0.08, (slots, images, 4)), 0.02, 0.98)  # fmt: skip
    there = np.broadcast_to(draws.integers(0, 900, (1, images, 4)) * (draws.random((1, images, 4)) < 0.6), share.shape)
    given = np.round(there * draws.uniform(0.8, 1.2, share.shape)).astype(int)
    return np.stack([np.minimum(np.round(there * share).astype(int), given), given, there], 2)


def segment(images: int, seed: int) -> tuple[float, Ends]:
    counts = counts_of(images, seed)[0]
    return float(mean_iou(counts.sum(0))), bootstrap_interval(counts, DRAWS if images == IMAGES else 2, seed)


def segment_difference(images: int, seed: int) -> tuple[float, Ends]:
    counts = counts_of(images, seed)
    score = mean_iou(counts.sum(1))
    weights = bootstrap_weights(images, DRAWS if images == IMAGES else 2, seed)
    one, other = (iou_draws(each, weights) for each in counts)
    found = paired_difference(score[1], score[0], other, one)
    return found.value, (found.low, found.high)


def segment_nested(images: int, seed: int) -> tuple[float, Ends]:
    """Of four layers that differ by little."""
    counts = counts_of(images, seed, 4)
    weights = bootstrap_weights(images, DRAWS if images == IMAGES else 2, seed)
    folds = dealt_folds(images, 10, seed)
    (value,), _ = nested_choice(counts, np.ones((1, images)), folds)
    return float(value), percentile(nested_choice(counts, weights, folds)[0])


def tables_of(images: int, seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed)
    truth = np.where(
        draws.random((images, 1)) < 0.5, draws.integers(0, 3, (images, 36)), draws.integers(1, 4, (images, 36))
    )
    noise = draws.uniform(0.2, 0.8, (images, 1))
    clusters = np.where(draws.random((images, 36)) < noise, draws.integers(0, 5, (images, 36)), truth)
    tables = np.zeros((images, 5, 4), np.int64)
    np.add.at(tables, (np.arange(images)[:, None], clusters, truth), 1)
    return tables


def pathways(scope: str) -> World:
    def world(images: int, seed: int) -> tuple[float, Ends]:
        tables = tables_of(images, seed)
        if images != IMAGES:
            each = adjusted_information(tables.sum(0, keepdims=True) if scope == "dataset" else tables)
            return float(np.nanmean(each)), (0.0, 0.0)
        found = information_of_images(tables, DRAWS, seed)
        return found[scope], found[f"{scope}.interval"]  # type: ignore[return-value]

    return world


def nodes_of(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (B, P) with an effect of the image, skewed, and which count: more of them where the effect is large."""
    draws = np.random.default_rng(seed)
    effect = draws.exponential(1.0, (images, 1))
    values = effect + draws.standard_normal((images, 25))
    return values, draws.random((images, 25)) < np.clip(0.3 + 0.2 * effect, 0, 0.9)


def trace_steps(images: int, seed: int) -> tuple[float, Ends]:
    values, chosen = nodes_of(images, seed)
    mean, error = mean_by_image(values, chosen)
    return mean, ends(*from_error(np.asarray(mean), np.asarray(error), int(chosen.any(1).sum())))


def clusters_of(values: np.ndarray, chosen: np.ndarray) -> Clusters:
    return Clusters(torch.from_numpy((values * chosen).sum(1)[:, None]), torch.from_numpy(chosen.sum(1)))


def concepts_mean(images: int, seed: int) -> tuple[float, Ends]:
    group = clusters_of(*nodes_of(images, seed))
    mean, error = (one.numpy()[0] for one in clustered_mean(group))
    return float(mean), ends(*from_error(mean, error, group.images))


def concepts_contrast(images: int, seed: int) -> tuple[float, Ends]:
    values, chosen = nodes_of(images, seed)
    one, other = clusters_of(values + 0.3, chosen), clusters_of(values, ~chosen)
    mean, error = (each.numpy()[0] for each in clustered_difference(one, other))
    return float(mean), ends(*from_error(mean, error, images))


def predicted_of(images: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Responses (b, 20), and two predictions of them, on images that are hard or easy for both."""
    draws = np.random.default_rng(seed)
    latent = draws.standard_normal((images, 4))
    mixing = np.random.default_rng(0).standard_normal((4, 20))
    noise = draws.uniform(0.3, 2.0, (images, 1)) * draws.standard_normal((images, 20))
    seen = latent @ mixing + noise
    return tuple(torch.from_numpy(one) for one in (seen, latent @ mixing, 0.8 * latent @ mixing))  # type: ignore[return-value]


def align_roi(images: int, seed: int) -> tuple[float, Ends]:
    seen, made, _ = predicted_of(images, seed)
    score, influence = (one.numpy() for one in roi_scores(lambda part: made[:, part], seen, torch.ones(1, 20) > 0))
    low, high = from_error(score, clustered_error(influence.T, images), images)
    return float(score[0]), ends(low[0], high[0])


def align_difference(images: int, seed: int) -> tuple[float, Ends]:
    seen, *both = predicted_of(images, seed)
    (a, one), (b, other) = (
        (one.numpy()[0] for one in roi_scores(lambda part, made=made: made[:, part], seen, torch.ones(1, 20) > 0))
        for made in both
    )
    found = linear_difference(a, b, one, other)
    return found.value, (found.low, found.high)


def probe_accuracy(images: int, seed: int) -> tuple[float, Ends]:
    right = (np.random.default_rng(seed).random(images) < 0.7).astype(float)
    return right.mean(), percentile(bootstrap_weights(images, DRAWS if images == IMAGES else 2, seed) @ right / images)


def score_dimension(entries: int, seed: int) -> tuple[float, Ends]:
    draws = np.random.default_rng(seed)
    one = draws.standard_normal(entries)
    value, *interval = rank_correlation(
        one, one + draws.standard_normal(entries), DRAWS if entries == IMAGES else 1, seed
    )
    return value, ends(*interval)


def skewed_mean_bca(images: int, seed: int) -> tuple[float, Ends]:
    values = np.random.default_rng(seed).exponential(size=images)
    if images != IMAGES:
        return values.mean(), (0.0, 0.0)
    draws = bootstrap_weights(images, DRAWS, seed) @ values / images
    return values.mean(), bca(draws, values.mean(), (values.sum() - values) / (images - 1))


def score_subjects(subjects: int, seed: int) -> tuple[float, Ends]:
    """Twelve subjects of 60 images each, subjects and images drawn again."""
    many = subjects == POPULATION
    draws = np.random.default_rng(seed)
    each = draws.normal(0.3, 0.1, (500 if many else 12, 1)) + draws.normal(0, 0.3, (500 if many else 12, IMAGES))
    weights = bootstrap_weights(IMAGES, DRAWS, seed)
    return each.mean(), percentile(mean_over_drawn(each @ weights.T / IMAGES, seed))


WORLDS: dict[str, tuple[str, World]] = {
    "segment: mean IoU": ("images, percentile", segment),
    "segment: difference of layers": ("images, paired percentile", segment_difference),
    "segment: best layer, nested": ("images, percentile, chosen again", segment_nested),
    "pathways: over the data set": ("images, percentile moved to the value", pathways("dataset")),
    "pathways: within images": ("images, percentile moved to the value", pathways("within")),
    "trace: step length": ("images, t", trace_steps),
    "concepts: mean of a group": ("images, t", concepts_mean),
    "concepts: figure - ground": ("images, t", concepts_contrast),
    "align: R^2 of an ROI": ("images, t", align_roi),
    "align: difference of two": ("images, paired t", align_difference),
    "probe: accuracy": ("images, percentile", probe_accuracy),
    "score: dimension and score": ("layers, percentile", score_dimension),
    "score: mean over subjects": ("subjects and images, percentile", score_subjects),
    "(BCa, for skewed scores)": ("images, BCa", skewed_mean_bca),
}


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    print(f"\n{STUDIES} studies of {IMAGES} images, {DRAWS} draws")
    outside = []
    for name, (resampled, world) in WORLDS.items():
        truth = world(POPULATION, 1_000_000)[0]
        found = [world(IMAGES, seed)[1] for seed in range(STUDIES)]
        held = np.mean([low <= truth <= high for low, high in found])
        print(f"{name:32s} {resampled:40s} truth {truth:.3f}, held in {100 * held:.1f} of 100")
        if not 0.9 <= held <= 0.99:
            outside.append(name)
    assert outside == []
