"""1,000 hostile and odd inputs over all readers: what came of them, reader by reader, and no fault.

    pytest -m benchmark -s tests/benchmarks/test_odd_inputs.py
    ALIGNEDCUT_SEED=7 pytest -m benchmark -s tests/benchmarks/test_odd_inputs.py     others

The inputs are those of tests/test_odd_inputs.py, drawn by the thousand (about three minutes on two cores).
"""

from __future__ import annotations

import faulthandler
import math
import os
import resource
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.helpers.odd_attempts import attempt
from tests.helpers.odd_inputs import READERS, Odd, odd_inputs, tree_of
from tests.helpers.odd_trees import make_world

pytestmark = pytest.mark.benchmark

INPUTS = int(os.environ.get("ALIGNEDCUT_INPUTS", "1000"))
SEED = int(os.environ.get("ALIGNEDCUT_SEED", "0"))


def draw(name: str, count: int, world: Path) -> tuple[Counter[str], list[str]]:
    """What came of the inputs of one reader, and its faults."""
    reader = READERS[name]
    tree = tree_of(reader, world.parent / "tree")
    outcomes: Counter[str] = Counter()
    faults: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )  # fmt: skip
    @given(odd_inputs(reader, tree))
    def one(odd: Odd) -> None:
        try:
            outcomes[attempt(reader, tree, odd, world.parent / "odd", world)] += 1
        except Exception as error:
            outcomes["FAULT"] += 1
            where = "".join(traceback.format_exception(error)[-5:])
            faults.append(f"{name}: {odd!r}: {type(error).__name__}: {error!s:.500}\n{where[:3_000]}")
            print("FAULT", faults[-1], flush=True)

    one()
    return outcomes, faults


def test_a_thousand_odd_inputs(tmp_path: Path) -> None:
    faulthandler.enable()
    world = make_world(tmp_path / "world")
    only = os.environ.get("ALIGNEDCUT_READERS", "")
    names = [name for name in READERS if only in name]
    print(f"\n{'reader':<22}{'inputs':>7}{'results':>9}{'seconds':>9}  errors by code")
    total: Counter[str] = Counter()
    faults: list[str] = []
    began = time.perf_counter()
    for name in names:
        start = time.perf_counter()
        outcomes, found = draw(name, math.ceil(INPUTS / len(names)), world)
        total, faults = total + outcomes, faults + found
        codes = ", ".join(f"{code} {count}" for code, count in outcomes.most_common() if code != "result")
        taken = time.perf_counter() - start
        print(f"{name:<22}{outcomes.total():>7}{outcomes['result']:>9}{taken:>9.1f}  {codes}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    taken, codes = time.perf_counter() - began, f"{len(total.keys() - {'result'})} codes, peak {peak:.2f} GiB"
    print(f"{'all':<22}{total.total():>7}{total['result']:>9}{taken:>9.1f}  {codes}")
    assert total.total() >= INPUTS
    assert not faults, "\n".join(faults)
