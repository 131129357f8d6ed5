"""The nested tree: planted groups within groups, overlaps counted set by set, and the support of what is there or not."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.groups.tree import Tree, clade_overlaps, grow_tree, nested_clusters, supported_tree
from alignedcut_cli.core.resample.draws import bootstrap_weights

IMAGES, EACH = 20, 16


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit rows (M, 4) of two groups of two groups each, the kind (0 to 3) of each, and its image."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 4, IMAGES * EACH)
    centres = np.array([[1, 0.35, 0, 0], [1, -0.35, 0, 0], [0, 0, 1, 0.35], [0, 0, 1, -0.35]])
    rows = centres[kinds] + 0.05 * random.normal(size=(len(kinds), 4))
    return rows.astype(np.float32), kinds, np.repeat(np.arange(IMAGES), EACH)


def below(tree: Tree, clade: int) -> set[int]:
    """The nodes below a clade, by walking down the joins."""
    leaves = len(tree.joins) + 1
    if clade < leaves:
        return set(np.flatnonzero(tree.leaf == clade).tolist())
    one, other = tree.joins[clade - leaves, :2]
    return below(tree, int(one)) | below(tree, int(other))


def test_partitions_are_nested_and_find_the_planted_groups() -> None:
    rows, kinds, _ = planted()
    tree = grow_tree(rows, 12, 0)
    clusters = nested_clusters(tree.joins)
    for count in range(1, 13):
        assert set(clusters[count - 1]) == set(range(count))
        coarse = clusters[max(count - 2, 0)]
        assert all(len(set(coarse[clusters[count - 1] == one])) == 1 for one in range(count))
    two, four = clusters[1][tree.leaf], clusters[3][tree.leaf]
    assert len(set(zip(two, kinds // 2, strict=True))) == 2
    assert len(set(zip(four, kinds, strict=True))) == 4


def test_overlaps_are_those_of_the_sets_below() -> None:
    rows, _, _ = planted()
    one, other = grow_tree(rows, 7, 0), grow_tree(rows[:, ::-1].copy(), 5, 3)
    found = clade_overlaps(one, other)
    for clade in range(13):
        mine = below(one, clade)
        best = max(len(mine & (theirs := below(other, n))) / len(mine | theirs) for n in range(9))
        assert abs(found[clade] - best) < 1e-12
    np.testing.assert_array_equal(clade_overlaps(one, one), 1)


def test_planted_splits_are_supported_and_arbitrary_ones_are_not() -> None:
    rows, kinds, images = planted()
    tree, support = supported_tree(rows, images, 12, bootstrap_weights(IMAGES, 15, 0), 0)
    for kind in range(4):
        mine = set(np.flatnonzero(kinds == kind).tolist())
        clade = next(number for number in range(23) if below(tree, number) == mine)
        assert support[clade] > 0.97
    assert support[:12].mean() < 0.75  # cells of k-means inside one cloud
    _, nothing = supported_tree(rows, images, 12, np.zeros((0, IMAGES)), 0)
    assert np.isnan(nothing).all()
