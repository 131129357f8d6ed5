"""The page of 1,000 photographs x 36 slots: under a minute, 2 GB and its budget, saying what was left out.

    pytest -m benchmark -s tests/benchmarks/test_report_scale.py

7.1 million nodes of made-up eigenvectors and colours; the command runs in a process of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.measured import measured
from tests.helpers.studies import make_study

pytestmark = pytest.mark.benchmark

IMAGES, GRID = 1000, (14, 14)
MODELS = {"one": 12, "two": 12, "three": 12}
MOST_SECONDS, MOST_BYTES, BUDGET = 60, 2 << 30, 15_000_000


def test_a_large_study_makes_a_page_of_its_budget(tmp_path: Path) -> None:
    names = [f"photo-{number:04d}.jpg" for number in range(IMAGES)]
    project = make_study(tmp_path, names, MODELS, GRID, columns=20)
    ran = measured("report", "-p", project.root, "--json")
    told = json.loads(ran.out)
    size = Path(told["path"]).stat().st_size
    print(
        f"\n{IMAGES} photographs x {sum(MODELS.values())} slots: {ran}, page "
        f"{size / 1e6:.1f} MB with {len(told['shown'])} photographs; cosine costs {told['cosine_cost']}"
    )
    assert ran.seconds < MOST_SECONDS
    assert ran.peak < MOST_BYTES
    assert BUDGET / 2 < size <= BUDGET
    assert f"{len(told['shown'])} of {IMAGES} photographs are shown, chosen by seed 0" in told["left_out"][0]
