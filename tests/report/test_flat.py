"""Flat maps: where a subject's vertices lie on fsaverage, what that becomes in artifacts, and the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.brain import open_responses
from alignedcut_cli.brain.surface import FSAVERAGE
from alignedcut_cli.commands.concepts import pictures as concepts_pictures
from alignedcut_cli.errors import DataError
from alignedcut_cli.report import flat as module
from alignedcut_cli.report.flat import NODES, STEP, Flat, Panel, flat_figure
from alignedcut_cli.store.project import Project
from tests.commands.cut.test_space import VOXELS, write_align
from tests.commands.test_concepts import (  # noqa: F401
    SLOTS,
    by_roi,
    close,
    concepts,
    explicit,
    labels_of,
    made,
    painted,
    place,
)
from tests.conftest import Cli
from tests.helpers.brains import LEFT, fmri, make_subject, save, values

HERE = {"lh": [3, 40, 9000, 20000, 163841], "rh": [0, 5, 6, 10242]}
MASK = "roi_masks/{}.all-vertices_fsaverage_space.npy"


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    folder = make_subject(tmp_path / "subj03")
    for side, vertices in HERE.items():
        save(folder / MASK.format(side), mask(vertices))
    return folder


def mask(vertices: list[int]) -> np.ndarray:
    found = np.zeros(FSAVERAGE)
    found[vertices] = 1
    return found


# a subject's vertices


def test_voxels_lie_at_the_marked_vertices(subject: Path) -> None:
    found = open_responses(subject)
    assert found.vertices is not None and found.vertices.tolist() == [*HERE["lh"], *HERE["rh"]]


def test_a_dropped_voxel_takes_its_vertex_along(subject: Path) -> None:
    left = values("training", "lh")
    left[0, 1] = np.nan
    save(fmri(subject, "lh"), left)
    found = open_responses(subject)
    assert found.vertices is not None and found.vertices.tolist() == [3, 9000, 20000, 163841, *HERE["rh"]]


def test_a_missing_mask_leaves_places_unknown_and_is_another_content(subject: Path) -> None:
    known = open_responses(subject)
    (subject / MASK.format("rh")).unlink()
    found = open_responses(subject)
    assert found.vertices is None and found.identity != known.identity


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (mask([1, 2, 3]), "vertices-count"),
        (np.ones(LEFT), "vertices-mask"),
        (2 * mask(HERE["lh"]), "vertices-mask"),
        (np.full(FSAVERAGE, np.nan), "vertices-mask"),
    ],
)
def test_masks_of_others_are_refused(subject: Path, array: np.ndarray, code: str) -> None:
    save(subject / MASK.format("lh"), array)
    with pytest.raises(DataError) as caught:
        open_responses(subject)
    assert caught.value.code == code


def test_brain_says_whether_there_is_a_surface(cli: Cli, subject: Path) -> None:
    assert cli("brain", subject, "--json").object["surface"] == "fsaverage"
    (subject / MASK.format("lh")).unlink()
    run = cli("brain", subject)
    assert "surface  unknown: no flat maps\n" in run.out


# pixels


def everywhere(**changes: object) -> Flat:
    """A voxel at every vertex of fsaverage5, both hemispheres."""
    both = np.tile(np.arange(NODES), 2)
    given = {"vertices": both, "left": NODES, "regions": np.ones((1, 2 * NODES), np.uint8), "names": ["V1"]}
    return Flat(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_pixel_shows_what_lies_under_it(axis: int) -> None:
    """Values that are a coordinate of the flat surface come out as the pixel's own coordinate."""
    from nilearn.datasets import load_fsaverage

    meshes = load_fsaverage("fsaverage5")["flat"].parts
    used = {side: meshes[side].coordinates[np.unique(meshes[side].faces)] for side in ("left", "right")}
    top = max(used[side][:, 1].max() for side in used)
    values = np.concatenate([meshes[side].coordinates[:, axis] for side in used])
    picture = everywhere().pixels(values)
    height, width = module._sheets()[0].folds.shape
    for side, part in (("left", picture[:, :width]), ("right", picture[:, width:])):
        start = used[side][:, 0].min() if axis == 0 else top
        line = np.arange(part.shape[1 - axis]) * STEP
        wanted = np.broadcast_to(start + line if axis == 0 else (start - line)[:, None], part.shape)
        there = np.isfinite(part)
        assert 0.5 < there.mean() < 0.95 and len(part) == height
        np.testing.assert_allclose(part[there], wanted[there], atol=2e-3)


def test_hemispheres_do_not_mix_and_finer_vertices_are_left_out() -> None:
    flat = everywhere(left=2 * NODES)
    width = module._sheets()[0].folds.shape[1]
    picture = flat.pixels(np.ones(2 * NODES))
    assert np.isfinite(picture[:, :width]).any() and np.isnan(picture[:, width:]).all()
    finer = everywhere(vertices=np.tile(np.arange(NODES), 2) + NODES)
    assert np.isnan(finer.pixels(np.ones(2 * NODES))).all()
    assert finer.window == (slice(None), slice(None)) and finer.outlines == {}


def test_only_groups_are_outlined() -> None:
    flat = everywhere(regions=np.ones((3, 2 * NODES), np.uint8), names=["V1", "V1v", "all"])
    assert list(flat.outlines) == ["V1"]


def test_a_figure_of_nothing_and_of_something() -> None:
    nowhere = everywhere(vertices=np.full(2 * NODES, NODES))
    figure = flat_figure("none", nowhere, [[Panel(np.zeros(2 * NODES), "a"), None]])
    assert [axis.get_title() for axis in figure.axes] == ["a (±1)", ""]
    figure = flat_figure("some", everywhere(), [[Panel(np.linspace(-3, 3, 2 * NODES), "b", signed=False)]])
    assert figure.axes[0].get_title().startswith("b (0 to ")


# concepts


@pytest.fixture
def located(place: Path) -> Path:  # noqa: F811
    """The study with the same alignment, called placed, whose voxels lie on fsaverage."""
    write_align(Project(place / "study"), "placed", vertices=np.arange(VOXELS) * 7, left=12)
    return place


def test_contrast_by_voxel_is_the_difference_of_explicit_means(cli: Cli, located: Path) -> None:
    header, found = made(cli, "--from", "color/joint", "--masks", "masks", "--align", "placed")
    assert header.axes["N"]["left"] == 12
    for number, (rows, (name, _)) in enumerate(zip(explicit("brain"), SLOTS, strict=True)):
        labels = labels_of(name).ravel()
        figure, ground = (labels > 0) & (labels != 255), labels == 0
        wanted = rows[figure].mean(0) - rows[ground].mean(0)
        close(found["contrast.voxel"][number], wanted)
        close(by_roi(found["contrast.voxel"][number]), found["contrast"][number])


def test_flat_maps_are_drawn_where_nilearn_is(cli: Cli, located: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = located / "study/pictures/concepts/joint"
    words = ("--from", "color/joint", "--masks", "masks", "--align", "placed", "--layers", 4)
    monkeypatch.setattr(concepts_pictures, "has_surface", lambda: False)
    run = cli("concepts", *words, "-p", "study")
    assert run.status == 0 and "pip install 'alignedcut[brain]'" in run.err
    assert not list(folder.glob("flat-*"))
    monkeypatch.undo()
    monkeypatch.chdir(located)
    assert concepts(cli, *words).status == 0
    names = {path.name for path in folder.glob("flat-*")}
    assert names == {"flat-contrast.png", "flat-other-attn-L04.png", "flat-test_vit-attn-L04.png"}
    for name in names:
        with Image.open(folder / name) as picture:
            assert picture.width >= 500
