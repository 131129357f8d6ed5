"""What `align` refuses, in one line and before anything is written, and what an interrupted run leaves: nothing."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from alignedcut_cli.commands.align import run as align_run
from alignedcut_cli.store.artifact import map_tensor, read_layout
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.frame.test_command_line import require_error
from tests.helpers.aligning import (
    FIRST,
    SECOND,
    image_entries,
    image_names,
    make_world,
    refused,
    responses_to,
    write_csv,
    write_made,
)
from tests.helpers.stores import WRITER

BOTH = ("--from", "features/first", "--from", "features/second")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up world; whatever is refused must leave it as it is."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared, tmp_path / "world"))


def align(cli: Cli, world: Path, *options: object, brain: Path | None = None) -> Run:
    words = [] if "--from" in options else ["--from", "first"]
    place = ("-p", world / "study", "--no-pictures", "--name", "w")
    return cli("align", "--brain", brain or world / "responses.csv", *words, *options, *place)


def made(world: Path) -> list[str]:
    """Every file of the project that is no feature set, lock or journal; hidden ones, too."""
    study = world / "study"
    parts = (path.relative_to(study).parts for path in study.rglob("*") if path.is_file())
    return ["/".join(part) for part in parts if part[0] not in ("features", ".alignedcut")]


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (("--from", "first", "--from", "features/first"), 2, "input-twice"),
    (("--from", "none"), 66, "artifact-missing"),
    (("--from", "cut/first"), 2, "wrong-kind"),
    (("--from", "pooled"), 65, "tokens-missing"),
    (("--from", "first", "--from", "pooled"), 65, "tokens-missing"),
    (("--layers", "2"), 2, "bad-layers"),
    ((*BOTH, "--layers", "0"), 2, "bad-layers"),
    (("--layers", ""), 2, "bad-layers"),
    (("--memory", "1KiB"), 71, "memory-budget"),
    (("--dim", "1000000000"), 71, "memory-budget"),
    (("--rate", "0"), 2, "bad-rate"),
    (("--rate", "1.5"), 2, "bad-rate"),
    (("--rate", "-0.1"), 2, "bad-rate"),
    (("--rate", "nan"), 2, "bad-rate"),
    (("--init", "odd"), 2, "bad-choice"),
    (("--device", "banana"), 2, "bad-device"),
    (("--device", "cuda:99"), 69, "device-missing"),
    (("--dim", "0"), 2, "usage"),
    (("--epochs", "-1"), 2, "usage"),
    (("--batch-size", "1"), 2, "usage"),
    (("--eigen", "-1"), 2, "usage"),
    (("--eigen", "nan"), 2, "usage"),
    (("--eigen", "inf"), 2, "bad-weight"),
    (("--zero", "inf"), 2, "bad-weight"),
    (("--cov", "1e30"), 2, "bad-weight"),
    (("--agree", "inf"), 2, "bad-weight"),
    (("--name", "a/b"), 2, "bad-name"),
    (("--subject", "1"), 2, "subject-of-table"),
    (("--masks", "."), 2, "option-unused"),
    (("--segment", "first"), 2, "option-unused"),
    (("--mask-suffix", "_mask"), 2, "option-unused"),
    (("--ablate", "eigen=1", "--mask-suffix", "_mask"), 2, "option-unused"),
    (("--ablate", "eigen=1", "--segment", "first"), 2, "option-unused"),
    (("--ablate", ""), 2, "bad-ablate"),
    (("--ablate", "eigen"), 2, "bad-ablate"),
    (("--ablate", "eigen="), 2, "bad-ablate"),
    (("--ablate", "eigen=1,"), 2, "bad-ablate"),
    (("--ablate", "eigen=1,-1"), 2, "bad-ablate"),
    (("--ablate", "eigen=1,1"), 2, "bad-ablate"),
    (("--ablate", "eigen=1,1.0000001"), 2, "bad-ablate"),
    (("--ablate", "eigen=inf"), 2, "bad-ablate"),
    (("--ablate", "eigen=nan"), 2, "bad-weight"),
    (("--ablate", "eigen=1e30"), 2, "bad-weight"),
    (("--ablate", "zero=1,0"), 2, "bad-ablate"),
    (("--ablate", "eigen=1", "--masks", "none"), 66, "masks-missing"),
]


@pytest.mark.parametrize(
    ("options", "status", "code"), WRONG, ids=lambda value: "_".join(value) if isinstance(value, tuple) else None
)
def test_every_refusal_is_one_line_and_writes_nothing(
    cli: Cli, shared: Path, options: tuple[str, ...], status: int, code: str
) -> None:
    if "--name" in options:
        run = cli("align", "--brain", shared / "responses.csv", "--from", "first", *options, "-p", shared / "study")
    else:
        run = align(cli, shared, *options)
    assert run.out == ""
    require_error(run.err, status, code, "align")
    if "--name" not in options:
        refused(align(cli, shared, *options, "--json"), status, code)
    assert made(shared) == []


def test_where_responses_are_not(cli: Cli, world: Path) -> None:
    refused(align(cli, world, "--json", brain=world / "none.csv"), 66, "brain-missing")
    (world / "notes.txt").write_text("a")
    refused(align(cli, world, "--json", brain=world / "notes.txt"), 65, "brain-unknown")
    run = cli("align", "--from", "first", "-p", world / "study", "--json")
    assert run.status == 2


def test_which_feature_set(cli: Cli, world: Path) -> None:
    run = cli("align", "--brain", world / "responses.csv", "-p", world / "study", "--json")
    assert "first, pooled, second" in refused(run, 2, "ambiguous-input")["message"]
    run = cli("align", "--brain", world / "responses.csv", "-p", world / "none", "--json")
    refused(run, 66, "no-project")


def test_the_same_slot_through_two_feature_sets(cli: Cli, world: Path) -> None:
    """The same weights, tap and layer of other images or tokens: `cut` could not tell the transforms apart."""
    write_made(Project(world / "study"), "again", replace(FIRST, tokens="sample:2"))
    run = align(cli, world, "--from", "first", "--from", "again", "--json")
    message = refused(run, 2, "slot-twice")["message"]
    assert message == "features/again, layer 0 and features/first, layer 0 are the same slot"
    other = replace(FIRST, widths={3: 8}, tokens="sample:2")
    write_made(Project(world / "study"), "again-3", other)
    assert align(cli, world, "--from", "first", "--from", "again-3", "--epochs", 0, "-q").status == 0


# steps with too few tokens


@pytest.mark.parametrize(
    ("tokens", "batch", "told"), [(4, 28, "1 images with 4 tokens"), (1, 5, "4 images with 4 tokens")]
)
def test_a_step_with_too_few_tokens_for_the_eigenvectors(
    cli: Cli, world: Path, tokens: int, batch: int, told: str
) -> None:
    """29 images are fitted: the last of the steps of 28 has one image. Without the eigen-constraint it does not matter."""
    write_made(Project(world / "study"), "few", replace(SECOND, tokens=f"sample:{tokens}"))
    options = ("--from", "few", "--batch-size", batch, "--epochs", 1)
    assert told in refused(align(cli, world, *options, "--json"), 65, "too-few-tokens")["message"]
    refused(align(cli, world, *options, "--dry-run", "--json"), 65, "too-few-tokens")
    ablation = (*options, "--eigen", 0, "--ablate", "eigen=0,1", "--json")
    refused(align(cli, world, *ablation), 65, "too-few-tokens")
    assert made(world) == []
    run = align(cli, world, *options, "--eigen", 0)
    assert run.status == 0, run.err
    assert all(np.isfinite(array).all() for array in load_file(run.out.strip()).values())


# numbers that do not allow a fit


def _one_infinite(values: np.ndarray) -> None:
    values[3, 2, 1] = np.inf


def _one_nan_of_a_test_image(values: np.ndarray) -> None:
    values[-1, 0] = np.nan


def _all_images_equal(values: np.ndarray) -> None:
    values[:] = values[0]


def _all_zero(values: np.ndarray) -> None:
    values[:] = 0


def _images_equal_but_for_loudness(values: np.ndarray) -> None:
    values[:] = values[0] * np.linspace(1, 2, len(values))[:, None, None]


def _too_large(values: np.ndarray) -> None:
    values *= np.float32(1e25)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_one_infinite, "not-finite"),
        (_one_nan_of_a_test_image, "not-finite"),
        (_all_images_equal, "cannot-align"),
        (_all_zero, "cannot-align"),
        (_too_large, "cannot-align"),
        (_images_equal_but_for_loudness, "cannot-align"),
    ],
)
@pytest.mark.parametrize("init", ["ridge"])
def test_features_that_allow_no_fit(
    cli: Cli, world: Path, spoil: Callable[[np.ndarray], None], code: str, init: str
) -> None:
    images = image_entries(image_names())
    values = {layer: FIRST.values(images, layer) for layer in FIRST.widths}
    spoil(values[1])
    with np.errstate(all="ignore"):
        write_made(Project(world / "study"), "spoilt", FIRST, values=values)
    error = refused(align(cli, world, "--from", "spoilt", "--init", init, "--json"), 65, code)
    assert error["message"].startswith("features/spoilt, layer 1: ")
    assert ("image-" in error["message"]) == (code == "not-finite")
    assert ("--layers" in error["remedy"]) == (code == "cannot-align")
    assert made(world) == []


def test_every_dead_slot_is_named(cli: Cli, world: Path) -> None:
    values = {layer: np.ones((40, 6, width), np.float32) for layer, width in FIRST.widths.items()}
    write_made(Project(world / "study"), "dead", FIRST, values=values)
    error = refused(align(cli, world, "--from", "second", "--from", "dead", "--json"), 65, "cannot-align")
    told = "features/dead, layer 0, features/dead, layer 1: the features are the same for all images"
    assert error["message"] == told
    assert error["remedy"] == "Leave these layers out with --layers, or extract them again"


def test_infinite_tokens_of_finite_means(cli: Cli, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are stored in half precision where asked, means never are."""
    monkeypatch.setattr("alignedcut_cli.store.features.require_whole", lambda *given, **options: None)
    write_made(Project(world / "study"), "loud", FIRST)
    for path in sorted((world / "study/features/loud").glob("*.safetensors")):
        for array in (map_tensor(read_layout(path), "tokens.01"),):
            with path.open("r+b") as stream:
                stream.seek(array.offset)
                stream.write(np.full(array.size, np.inf, "<f4").tobytes())
    error = refused(align(cli, world, "--from", "loud", "--json"), 65, "not-finite")
    assert error["message"].startswith("features/loud, layer 1: the tokens of ")
    assert "image-" in error["message"]


@pytest.mark.parametrize("scale", [1e-34, 1e31, 1e37])
def test_responses_beyond_float32(cli: Cli, world: Path, scale: float) -> None:
    """One voxel whose read-out float32 would not hold is named by its column."""
    values = responses_to(image_names())
    values[:, 2] *= np.float32(scale)
    table = write_csv(world / "huge.csv", image_names(), values)
    error = refused(align(cli, world, "--json", "-q", brain=table), 65, "bad-units")
    assert "1 columns of the responses vary by less than 1e-30 or more than 1e+30" in error["message"]
    assert f"column 2 by {values[:36, 2].astype(np.float64).std():.2g}" in error["message"]
    assert made(world) == []


def test_weights_that_grow_beyond_all_bounds(cli: Cli, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = align_run.fit_alignment

    def grown(*given: Any) -> Any:
        found = fit(*given)
        found.beta.fill_(float("inf"))
        return found

    monkeypatch.setattr(align_run, "fit_alignment", grown)
    error = refused(align(cli, world, "--json", "-q"), 65, "diverged")
    assert error["remedy"] == "Give a smaller --rate, or --epochs 0"
    assert made(world) == []


@pytest.mark.parametrize("init", ["ridge", "random"])
def test_the_largest_rate_is_finite(cli: Cli, world: Path, init: str) -> None:
    """Early stopping keeps the best epoch: however wild the steps are, held-out images lose nothing against the start."""
    run = align(cli, world, *BOTH, "--rate", 1, "--epochs", 10, "--init", init, "-q")
    found = load_file(run.out.strip())
    assert found["heldout"].max() >= found["heldout"][0]
    assert list(check_project(Project(world / "study"), deep=True)) == []


# locks, signals, disks


def test_a_locked_artifact(cli: Cli, world: Path) -> None:
    with Project(world / "study").writing("align", "w"):
        run = align(cli, world, "-q")
    assert require_error(run.err, 75, "locked", "align")["what"] == f"align/w is being written by process {os.getpid()}"
    assert made(world) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("when", ["alignedcut_cli.commands.align.run.fit_alignment", WRITER])
def test_an_interrupted_run_leaves_nothing(
    cli: Cli, world: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int, when: str
) -> None:
    def stop(*given: Any, **_: Any) -> None:
        if when == WRITER:
            Path(given[0]).write_bytes(b"half of it")
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(when, stop)
        run = align(cli, world, "--epochs", 1, "-q")
    require_error(run.err, status, "stopped", "align")
    assert made(world) == []
    assert align(cli, world, "--epochs", 1, "-q").status == 0
    assert made(world) == ["align/w.safetensors"]
    assert list(check_project(Project(world / "study"), deep=True)) == []


def test_an_interruption_while_drawing_costs_only_the_pictures(
    cli: Cli, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        "align",
        "--brain",
        world / "responses.csv",
        "--from",
        "first",
        "--epochs",
        1,
        "-p",
        world / "study",
        "-q",
    )

    def stop(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("alignedcut_cli.report.figures.roi_figure", stop)
        assert cli(*command).status == 130
    assert "align/first.safetensors" in made(world)
    assert cli(*command, "--json").object["made"] is False
    assert len([name for name in made(world) if name.endswith(".png")]) == 3


def test_a_full_disk_keeps_the_old_artifact(cli: Cli, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert align(cli, world, "--epochs", 0, "-q").status == 0
    path = world / "study/align/w.safetensors"
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(WRITER, fail)
    run = align(cli, world, "--epochs", 0, "--dim", 2, "--overwrite", "-q")
    require_error(run.err, 74, "disk-full", "align")
    assert made(world) == ["align/w.safetensors"] and path.read_bytes() == before
