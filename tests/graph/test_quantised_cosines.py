"""Which precision a machine multiplies fastest in: the same whether it is idle or busy."""

from __future__ import annotations

import random

import pytest
import torch

from alignedcut_cli.core.graph import quantised_cosines
from alignedcut_cli.core.graph.quantised_cosines import quick_precisions

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        ({"float32": 8.0, "bfloat16": 20.0, "int8": 9.0}, ["float32"]),
        ({"float32": 8.0, "bfloat16": 6.5, "int8": 7.0}, ["float32"]),
        ({"float32": 8.0, "bfloat16": 3.0, "int8": 1.2}, ["float32", "bfloat16", "int8"]),
        ({"float32": 8.0, "bfloat16": 20.0, "int8": 2.0}, ["float32", "int8"]),
        ({"float32": 8.0, "bfloat16": 3.0, "int8": 2.8}, ["float32", "bfloat16"]),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_busy_machine_chooses_as_an_idle_one(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], wanted: list[str], seed: int
) -> None:
    """Every other product takes up to ten times as long."""
    chance = random.Random(seed)

    def timed(_: torch.device, precision: str, clock: object, rows: int = 512) -> float:
        return seconds[precision] * (chance.uniform(2, 10) if chance.random() < 1 / 2 else chance.uniform(0.97, 1.03))

    monkeypatch.setattr(quantised_cosines, "_product_seconds", timed)
    assert quick_precisions(CPU) == wanted


def test_what_is_emulated_is_left_out_before_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def timed(_: torch.device, precision: str, clock: object, rows: int = 512) -> float:
        asked.append((precision, rows))
        return {"float32": 1.0, "bfloat16": 6.0, "int8": 20.0}[precision] * rows

    monkeypatch.setattr(quantised_cosines, "_product_seconds", timed)
    assert quick_precisions(CPU) == ["float32"]
    assert {kind for kind, rows in asked if rows > 32} <= {"float32"}
