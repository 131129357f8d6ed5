"""Hostile and odd inputs for every reader: a result or one AlignedcutError each, and nothing written or run.

The same inputs by the thousand: tests/benchmarks/test_odd_inputs.py.
"""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import h5py
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from alignedcut_cli.brain.tables import READERS as TABLES
from alignedcut_cli.commands import COMMANDS, module_of
from alignedcut_cli.datasets.images import SUFFIXES
from alignedcut_cli.datasets.open_masks import MASK_READERS
from tests.helpers.odd_attempts import attempt
from tests.helpers.odd_bytes import Calls
from tests.helpers.odd_inputs import PATH_OPTIONS, READERS, Odd, odd_inputs, tree_of
from tests.helpers.odd_trees import FORMATS, make_world

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
    def require(odd: Odd) -> None:
        attempt(reader, tree, odd, world.parent / "odd", world)

    require()


@pytest.mark.parametrize("name", READERS)
def test_the_unhurt_input_is_read(name: str, world: Path) -> None:
    reader = READERS[name]
    tree = tree_of(reader, world.parent / "tree")
    for by_command, way in ((False, reader.read), (True, reader.command)):
        if way:
            assert attempt(reader, tree, Odd("", by_command=by_command), world.parent / "odd", world) == "result"


def test_every_reader_of_the_product_has_odd_inputs() -> None:
    assert {f"masks {dataset}" for dataset in MASK_READERS} | {f"table {suffix}" for suffix in TABLES} <= READERS.keys()
    assert {suffix for suffixes in FORMATS.values() for suffix in suffixes} >= SUFFIXES
    assert {f"weights {suffix}" for suffix in (".pth", ".safetensors")} <= READERS.keys()


def test_every_path_that_a_command_takes_has_odd_inputs() -> None:
    taken = {name: set(_paths(module_of(name).command)) - {"project"} for name in COMMANDS}
    assert {name: paths for name, paths in taken.items() if paths} == {
        name: set(readers) for name, readers in PATH_OPTIONS.items()
    }
    assert {reader for readers in PATH_OPTIONS.values() for reader in readers.values()} - {""} <= READERS.keys()


def _paths(command: Callable[..., object]) -> Iterator[str]:
    """The parameters of a command that are paths, or lists of them."""
    for one in inspect.signature(command, eval_str=True).parameters.values():
        if "Path" in repr(get_args(one.annotation)[:1]):
            yield one.name


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda folder, _: {}["x"], "KeyError"),
        (lambda folder, _: (folder.parent / "outside/new.txt").write_text("x"), "for writing"),
        (lambda folder, _: (folder / "list.txt").unlink(), "os.remove"),
        (lambda folder, _: (folder.parent / "outside/secret.txt").read_text(), "which nothing named"),
        (lambda folder, _: pickle.loads(pickle.dumps(Calls(os.mkdir, "made"))), "pickle.find_class"),
        (lambda folder, _: subprocess.run(["true"], check=True), "subprocess.Popen"),
        (lambda folder, _: bytearray(2 << 30), "MemoryError"),
        (lambda folder, _: h5py.File(folder / "new.hdf5", "w").close(), "changed files"),
    ],
)
def test_what_no_reader_may_do_is_seen(read: Callable[[Path, Path], object], told: str, world: Path) -> None:
    reader = replace(READERS["list on stdin"], read=read)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # a fault, or what the reader raised
        attempt(reader, {"list.txt": b"x"}, Odd(""), world.parent / "odd", world)
    assert told in f"{type(caught.value).__name__} {caught.value}"
