"""`alignedcut tree`: what it stores against what it is made of, its figure, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.store.artifact import load_tensors
from tests.commands.cut.test_space import JOINT, explicit, joined, refused, study
from tests.conftest import Cli

__all__ = ["joined", "study"]  # fixtures


def test_splits_say_what_tells_their_sides_apart(cli: Cli, study: Path, photos: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    for photo in photos.rglob("*.png"):
        path = masks / photo.relative_to(photos)
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as whole:
            ids = np.ones((whole.height, whole.width), np.uint8)
        ids[:, : ids.shape[1] // 2] = 2
        Image.fromarray(ids).save(path)
    assert cli("cut", *JOINT, "-C", 6, "--space", "aligned", "--name", "all", "-p", study, "-q").status == 0
    run = cli("tree", "-C", 5, "--clusters", 9, "--bootstrap", 6, "--masks", masks, "--json", "-p", study)
    assert run.status == 0, run.err
    header, tensors = load_tensors(Path(run.object["path"]))
    nodes = load_tensors(study / "cut" / "all.safetensors")[1]["nodes"]
    rows = run.object["rows"]
    assert [row["clusters"] for row in rows] == list(range(2, 10))
    assert sum(rows[0]["nodes"]) == len(nodes) and all(0 < row["support"] <= 1 for row in rows)
    left, right = (nodes_below(tensors, int(side)) for side in tensors["joins"][-1, :2])
    assert [len(left), len(right)] == rows[0]["nodes"]
    brain = explicit(study, "brain", ("tiny", "other"), (4, 5)).numpy()
    areas = header.axes["R"]["labels"]
    membership = load_tensors(study / "align" / "shared.safetensors")[1]["rois"].astype(bool)
    assert areas == ["V1", "V4", "FFA-1", "one"]
    wanted = [brain[left][:, mine].mean() - brain[right][:, mine].mean() for mine in membership[:4]]
    np.testing.assert_allclose(tensors["areas"][-1, :, 0], wanted, atol=2e-3)
    shares = []
    for side in (left, right):
        patches = nodes[side][nodes[side][:, 2] >= 0]
        widths = np.array([slot["grid"][1] for slot in header.axes["S"]["slots"]])[patches[:, 1]]
        centre = (patches[:, 3] * 2 + 1) / widths
        shares.append([np.mean(centre > 1 + 1e-9), np.mean(centre < 1 - 1e-9)])
    found = tensors["classes"][-1, :, 0]
    assert np.sign(found[1]) == -np.sign(found[0]) or not found.any()
    np.testing.assert_allclose(found, np.subtract(*shares), atol=0.2)  # the column in the middle is either's
    written = tmp_path / "nodes.npz"
    assert cli("show", "tree/all", "--export", written, "-p", study).status == 0
    with np.load(written) as table:
        np.testing.assert_array_equal(table["of 2"] == table["of 2"][left[0]], np.isin(np.arange(len(nodes)), left))
    assert (Path(run.object["pictures"]) / "tree.png").stat().st_size > 10_000


def nodes_below(tensors: dict[str, np.ndarray], clade: int) -> np.ndarray:
    leaves = tensors["joins"].shape[0] + 1
    if clade < leaves:
        return np.flatnonzero(tensors["leaf"] == clade)
    one, other = tensors["joins"][clade - leaves, :2]
    return np.concatenate([nodes_below(tensors, int(one)), nodes_below(tensors, int(other))])


def test_what_a_tree_cannot_be_grown_from(cli: Cli, study: Path) -> None:
    assert (
        cli("cut", "--from", "tiny", "--layers", "4,5", "--per-slot", "-C", 3, "--name", "by-slot", "-p", study).status
        == 0
    )
    refused(cli("tree", "-p", study, "--json"), 2, "several-graphs")
    assert cli("cut", "--from", "tiny", "--layers", 4, "-C", 3, "--name", "one", "-p", study).status == 0
    refused(cli("tree", "--from", "one", "-p", study, "--json"), 2, "too-many-eigenvectors")
    run = cli("tree", "--from", "one", "-C", 3, "--clusters", 4, "--bootstrap", 0, "--no-pictures", "-p", study)
    assert run.status == 0 and run.out.splitlines()[1].endswith("  -"), run.err


@pytest.mark.parametrize("count", [0, 1])
def test_one_cluster_is_no_tree(cli: Cli, study: Path, count: int) -> None:
    assert cli("tree", "--clusters", count, "-p", study).status == 2
