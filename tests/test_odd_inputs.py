"""Hostile and odd inputs for every reader: a result or one typed error each, and nothing written or run.

The same inputs by the thousand: tests/benchmarks/test_odd_inputs.py.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from alignedcut_cli.brain.tables import READERS as TABLES
from alignedcut_cli.datasets.images import SUFFIXES
from alignedcut_cli.datasets.open_masks import MASK_READERS
from alignedcut_cli.main import COMMANDS
from tests.helpers.odd_attempts import attempt
from tests.helpers.odd_inputs import FORMATS, PATH_OPTIONS, READERS, Odd, make_world, odd_inputs, tree_of

EACH = 3
ODD = settings(
    max_examples=EACH, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("odd") / "world")


@pytest.mark.parametrize("name", READERS)
def test_every_reader_gives_a_result_or_one_typed_error(name: str, world: Path) -> None:
    reader = READERS[name]
    tree = tree_of(reader, world.parent / "tree")

    @ODD
    @given(odd_inputs(reader, tree))
    def demand(odd: Odd) -> None:
        attempt(reader, tree, odd, world.parent / "odd", world)

    demand()


@pytest.mark.parametrize("name", READERS)
def test_the_unhurt_input_is_read(name: str, world: Path) -> None:
    reader = READERS[name]
    tree = tree_of(reader, world.parent / "tree")
    for by_command, way in ((False, reader.read), (True, reader.command)):
        if way:
            assert attempt(reader, tree, Odd("", by_command=by_command), world.parent / "odd", world) == "result"
