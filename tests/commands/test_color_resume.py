"""An interrupted coloring keeps the places so far, says how to go on, and then has the bytes of an undisturbed one."""

from __future__ import annotations

import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from alignedcut_cli.core.embed import colours
from alignedcut_cli.main import main
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.status import project_states
from tests.conftest import Cli

OPTIONS = ("--nodes", "40", "--perplexity", "5", "--no-pictures")


@pytest.fixture(scope="module")
def study(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a cut of two slots, coloured undisturbed as color/undisturbed."""
    project = Path(shutil.copytree(extracted, tmp_path_factory.mktemp("resume") / "study"))
    place = ("-p", str(project), "-q")
    assert main(["cut", "--per-slot", "--layers", "2,3", "-C", "6", "--name", "two", *place]) == 0
    assert main(["color", "--from", "cut/two", "--name", "undisturbed", *OPTIONS, *place]) == 0
    return project


@pytest.mark.parametrize("rounds", [3, 18])
def test_an_interrupted_coloring_goes_on_to_the_same_bytes(
    cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """Stopped in the first graph, and in the second."""
    monkeypatch.setattr("alignedcut_cli.frame.keep.EVERY", 0.0)
    seen = 0
    whole = colours.tsne

    def stopped(*given: Any, keep: Any, **options: Any) -> Any:
        def count(state: Any) -> None:
            nonlocal seen
            keep(state)
            seen += 1
            if seen == rounds:
                signal.raise_signal(signal.SIGINT)

        return whole(*given, keep=count, **options)

    argv = ("color", "--from", "cut/two", "--name", f"again-{rounds}", *OPTIONS, "-p", study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(colours, "tsne", stopped)
        run = cli(*argv)
    assert (run.status, run.out) == (130, "")
    done = {3: "0 of 2 graphs and 150 of 750", 18: "1 of 2 graphs and 150 of 750"}[rounds]
    assert f"{done} iterations of the next are kept; go on with: alignedcut color" in run.err
    (state,) = (one for one in project_states(Project(study)) if one.name == f"again-{rounds}")
    assert (state.kind, state.state, shlex.split(state.repair)[1]) == ("color", "partial", "color")
    again = cli(*argv)
    assert again.status == 0
    assert f"{done} iterations of the next are there; going on" in again.err
    tensors = [Project(study).header("color", name).content for name in ("undisturbed", f"again-{rounds}")]
    assert tensors[0] == tensors[1]
    assert not list((study / ".alignedcut/kept").iterdir())
