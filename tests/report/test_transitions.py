"""Pictures of transitions, drawn from a trace that was written by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from alignedcut_cli.report.transitions import path_colour, transition_picture

LOW, HIGH = [0.0, 0.0], [10.0, 10.0]


def drawn(shares: np.ndarray) -> np.ndarray:
    """The picture of one pair of layers with two concepts: dots at the lower left are concept 0, at the upper right 1."""
    nodes = np.array([[0, slot, 0, column] for slot in (0, 1) for column in range(4)])
    tensors: dict[str, Any] = {
        "nodes": nodes,
        "coordinates": np.array([LOW, LOW, HIGH, HIGH] * 2, np.float32),
        "concepts": np.array([0, 0, 1, 1] * 2),
        "centres": np.array([[0, 2], [4, 6]]),
        "radii": np.array([2.0, 2.0]),
        "pairs": np.array([[0, 1]]),
        "counts": np.rint(100 * shares).astype(int)[None, None],
        "transitions": shares[None, None, :-1],
    }
    axes = {
        "K": {"pairs": [{"model": "m", "from": 3, "to": 4}]},
        "L": {"slots": [{"slot": 0, "model": "m", "layer": 3}, {"slot": 1, "model": "m", "layer": 4}]},
        "H": {"labels": ["all"]},
        "A": {"size": 2},
        "d": {"size": 2},
    }
    header: Any = SimpleNamespace(axes=axes, params={"measure": "map"})
    return np.asarray(transition_picture(header, tensors, "m"))


def centre_of(picture: np.ndarray, colour: Any) -> tuple[float, float]:
    """The mean (x, y) of the pixels of one colour."""
    rows, columns = np.nonzero((picture == np.array(colour)).all(-1))
    assert len(rows) > 50
    return float(columns.mean()), float(rows.mean())


def test_a_row_is_the_concept_that_is_left_and_darkness_the_share() -> None:
    picture = drawn(np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]))
    black, grey = centre_of(picture, (0, 0, 0)), centre_of(picture, (128, 128, 128))
    assert black[1] < grey[1] - 50  # A0 above A1
    assert abs(black[0] - grey[0]) < 20  # B1 lies between B0 and none
    lefts = np.nonzero((picture == 128).all(-1).any(0))[0]
    assert np.ptp(lefts) > 200


def test_the_second_axis_of_the_map_points_up_and_concepts_have_their_colours() -> None:
    picture = drawn(np.eye(3))
    width = picture.shape[1] // 3
    first, second = (centre_of(picture[:, :width], path_colour(concept)) for concept in (0, 1))
    assert first[0] < second[0] and first[1] > second[1]
