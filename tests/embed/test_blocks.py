"""P in blocks of rows: the same matrix, each block's columns once, padded for compiled loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from alignedcut_cli.core.embed import blocks as module
from alignedcut_cli.core.embed.blocks import HEIGHTS, Blocks, blocks_of, neighbours_together
from alignedcut_cli.core.embed.kernels import LANES
from alignedcut_cli.core.embed.on_host import Affinities


def matrix(total: int, share: float, seed: int) -> csr_matrix:
    """Some rows may be empty, or full."""
    drawn = random_array((total, total), density=share, format="csr", rng=np.random.default_rng(seed))
    return csr_matrix(drawn.astype(np.float32))


def made(given: csr_matrix) -> Blocks:
    return blocks_of(Affinities(given.data, given.indices.astype(np.int32), given.indptr.astype(np.int64)))


def dense(blocks: Blocks, total: int) -> np.ndarray:
    """The matrix (m, m), entry by entry."""
    found = np.zeros((total, total), np.float64)
    for block, (a, b) in enumerate(zip(blocks.starts[:-1], blocks.starts[1:], strict=True)):
        for i in range(block * blocks.height, min(total, block * blocks.height + blocks.height)):
            row = blocks.height * a + (i - block * blocks.height) * (b - a)
            for value, column in zip(blocks.values[row : row + b - a], blocks.columns[a:b], strict=True):
                found[i, column] += value
    return found


@settings(deadline=None, max_examples=60)
@given(total=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 99), height=st.sampled_from(HEIGHTS))
def test_the_blocks_of_any_height_are_the_matrix(total: int, share: float, seed: int, height: int) -> None:
    wanted = matrix(total, share, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HEIGHTS", (height,))
        blocks = made(wanted)
    assert len(blocks.starts) == -(-total // height) + 1
    assert np.array_equal(dense(blocks, total), wanted.toarray())


def test_each_block_lists_a_column_once_and_whole_lanes_of_them() -> None:
    blocks = made(matrix(200, 0.2, 0))
    for a, b in zip(blocks.starts[:-1], blocks.starts[1:], strict=True):
        assert (b - a) % LANES == 0
        listed = np.trim_zeros(blocks.columns[a:b], "b")  # the padding is column 0
        assert len(set(listed.tolist())) == len(listed) > (b - a) - LANES - 1


def test_rows_that_share_their_columns_are_taken_together_and_others_alone() -> None:
    groups = csr_matrix(np.kron(np.eye(4, dtype=np.float32), np.ones((64, 64), np.float32)))
    assert made(groups).height == 8
    assert made(matrix(4000, 0.05, 0)).height == 1


@settings(deadline=None, max_examples=40)
@given(total=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_order_of_neighbours_moves_rows_and_columns_alike(total: int, share: float, seed: int) -> None:
    given = matrix(total, share, seed)
    given = csr_matrix(given + given.T)
    joint = Affinities(given.data, given.indices.astype(np.int32), given.indptr.astype(np.int64))
    moved, order = neighbours_together(joint)
    assert sorted(order) == list(range(total))
    found = csr_matrix((moved.values, moved.columns, moved.bounds), (total, total)).toarray()
    assert np.array_equal(found, given.toarray()[order][:, order])
