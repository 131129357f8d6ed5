"""Several subjects, signal-to-noise ratios, single trials, and RDMs in place of responses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from alignedcut_cli.brain import Rdms, Subject, open_brain, open_responses
from alignedcut_cli.core.encode.reliability import share_of_snr
from alignedcut_cli.errors import AlignedcutError
from tests.conftest import Cli

IMAGES = [f"{number}.png" for number in range(8)]
VALUES = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)


def table(folder: Path, voxels: str | None = None, **arrays: np.ndarray) -> Path:
    """responses.npz of 8 images and 4 voxels, and what is said of the voxels beside it."""
    path = folder / "responses.npz"
    np.savez(path, images=np.array(IMAGES), **{"responses": VALUES, **arrays})
    if voxels is not None:
        (folder / "responses.voxels.csv").write_text(voxels)
    return path


def subjects(path: Path, *more: object) -> list[Subject]:
    found = open_brain(path, *more)  # type: ignore[arg-type]
    assert isinstance(found, tuple)
    return list(found)


VOXELS = (
    "voxel,subj_id,ncsnr,reps,roi,EVC\n0,subj01,0.5,3,V1,1\n1,subj01,0.1,3,V4,0\n2,subj02,0.4,3,V1,1\n3,subj02,,3,,0\n"
)


def test_a_table_of_voxels_says_whose_they_are_how_reliable_and_where(tmp_path: Path) -> None:
    path = table(tmp_path, VOXELS)
    first, second = subjects(path)
    assert (first.name, second.name) == ("subj01", "subj02")
    assert np.array_equal(second.responses.values, VALUES[:, 2:])
    rois = {name: mask.tolist() for name, mask in first.responses.rois.items()}
    assert rois == {"EVC": [True, False], "V1": [True, False], "V4": [False, True]}
    assert set(second.responses.rois) == {"EVC", "V1"} and "V4" in second.responses.absent
    assert first.responses.ceiling == pytest.approx(share_of_snr(np.array([0.5, 0.1]), 3), abs=1e-6)
    assert np.isnan(second.responses.ceiling[1])
    assert first.responses.identity != second.responses.identity
    assert [one.name for one in subjects(path, "2")] == ["subj02"]
    assert [one.name for one in subjects(path, "subj02,subj01")] == ["subj02", "subj01"]


def test_voxels_below_the_least_signal_to_noise_are_left_out(tmp_path: Path) -> None:
    path = table(tmp_path, VOXELS)
    first, second = subjects(path, None, 0.2)
    assert np.array_equal(first.responses.values, VALUES[:, :1]) and len(second.responses.voxels) == 1
    with pytest.raises(AlignedcutError, match=r"no voxel of subject subj02 .* above 0.45"):
        open_brain(path, None, 0.45)
    (tmp_path / "other").mkdir()
    with pytest.raises(AlignedcutError, match="no signal-to-noise ratios"):
        open_brain(table(tmp_path / "other"), None, 0.2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ncsnr\n1\n2\n", "2 rows"),
        ("ncsnr\n1\n2\nx\n4\n", "'x' is no number"),
        ("ncsnr\n1\n2\n-3\n4\n", "'-3' is no number"),
        ("subject,ncsnr\na,1\n,1\na,1\na,1\n", "voxel 2 is of no subject"),
    ],
)
def test_a_wrong_table_of_voxels_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(AlignedcutError, match=told):
        open_brain(table(tmp_path, text))


def test_columns_of_no_known_meaning_are_named(tmp_path: Path) -> None:
    (found,) = subjects(table(tmp_path, "x,comment\n1,a\n0,b\n1,c\n1,d\n"))
    assert any("x, comment" in note for note in found.responses.notes) and not found.responses.rois


def trials(noise: float = 1.0) -> np.ndarray:
    random = np.random.default_rng(1)
    found = VALUES[:, None] + noise * random.standard_normal((8, 6, 4)).astype(np.float32)
    found[2, 4:] = np.nan
    return found


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_single_trials_are_averaged_and_give_the_ceiling(tmp_path: Path, kind: str) -> None:
    repeats = trials(0.5)
    path = tmp_path / f"trials.{kind}"
    if kind == "npz":
        np.savez(path, repeats=repeats, images=np.array(IMAGES))
    else:
        save_file({"repeats": repeats}, path, {"images": json.dumps(IMAGES)})
    found = open_responses(path)
    assert np.allclose(found.values, np.nanmean(repeats, 1), atol=1e-6)
    assert found.trials is not None and np.isnan(found.trials[2, 4:]).all()
    assert found.ceiling is not None and (found.ceiling > 0.8).all()
    assert any("4 to 6 trials" in note for note in found.notes)
    noisy = trials(8)
    np.savez(tmp_path / "noisy.npz", repeats=noisy, images=np.array(IMAGES))
    assert open_responses(tmp_path / "noisy.npz").ceiling.mean() < 0.7  # type: ignore[union-attr]


def test_trials_must_fit_and_an_image_without_any_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlignedcutError, match=r"must be \(images, trials, channels\)"):
        open_brain(table(tmp_path, repeats=trials()[:, :, :3]))
    lost = trials()
    lost[5] = np.nan
    np.savez(tmp_path / "lost.npz", repeats=lost, images=np.array(IMAGES))
    with pytest.raises(AlignedcutError, match="no trial of the images in rows 6"):
        open_brain(tmp_path / "lost.npz")


def test_snr_without_the_number_of_trials_gives_no_ceiling(tmp_path: Path) -> None:
    (found,) = subjects(table(tmp_path, ncsnr=np.ones(4)))
    assert found.responses.ceiling is None and any("`reps`" in note for note in found.responses.notes)
    (found,) = subjects(table(tmp_path, ncsnr=np.ones(4), reps=np.array(2)))
    assert found.responses.ceiling == pytest.approx(np.full(4, 2 / 3))
    with pytest.raises(AlignedcutError, match="from 1"):
        open_brain(table(tmp_path, ncsnr=np.ones(4), reps=np.array([0.0])))


def test_a_plain_table_is_one_subject(tmp_path: Path) -> None:
    path = table(tmp_path)
    assert [one.name for one in subjects(path)] == ["1"]
    with pytest.raises(AlignedcutError, match="does not say whose"):
        open_brain(path, "2")


def test_several_subjects_of_a_folder(tmp_path: Path, brain_folder: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"subj0{number}").symlink_to(brain_folder, target_is_directory=True)
    assert [one.name for one in subjects(tmp_path, "all")] == ["subj01", "subj02"]
    assert [one.name for one in subjects(tmp_path, "2")] == ["subj02"]
    with pytest.raises(AlignedcutError, match="holds the subjects 1, 2"):
        open_brain(tmp_path)
    with pytest.raises(AlignedcutError, match="no subj03"):
        open_brain(tmp_path, "1,3")
    with pytest.raises(AlignedcutError, match="'x' is no subject"):
        open_brain(tmp_path, "x")


def rdms(*shape: int) -> np.ndarray:
    found = np.abs(np.random.default_rng(2).standard_normal((*shape, 8, 8)))
    found = found + np.swapaxes(found, -1, -2)
    found[..., range(8), range(8)] = 0
    return found


def rdm_set(path: Path, *more: object) -> Rdms:
    found = open_brain(path, *more)  # type: ignore[arg-type]
    assert isinstance(found, Rdms)
    return found


def test_rdms_of_subjects_and_sessions(tmp_path: Path) -> None:
    path = tmp_path / "rdms.npz"
    np.savez(path, it_sessions=rdms(3, 2), other=rdms(2), it_names=np.array(["a", "b", "c"]), images=np.array(IMAGES))
    found = rdm_set(path)
    assert list(found.regions) == ["it_sessions.1", "it_sessions.2", "other"]
    assert found.regions["it_sessions.2"][0] == ("a", "b", "c") and found.regions["other"][0] == ("1", "2")
    assert np.array_equal(found.regions["it_sessions.2"][1], rdms(3, 2)[:, 1])
    assert found.images == tuple(IMAGES) and found.size == 8
    assert list(rdm_set(path, "b").regions) == ["it_sessions.1", "it_sessions.2"]


def test_the_command_shows_rdms(tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "rdms.npz"
    np.savez(path, rdms=rdms(2), names=np.array(["x", "y"]))
    run = cli("brain", path)
    assert run.status == 0 and "8, without names" in run.out and "rdms    2         x, y" in run.out
    assert cli("brain", path, "--json").object["regions"] == [{"name": "rdms", "subjects": ["x", "y"]}]


def test_rdms_alone_count_where_they_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "set.safetensors"
    save_file({"rdms": rdms(2), "other": rdms(4)}, path, {"names": json.dumps(["x", "y"])})
    found = rdm_set(path)
    assert {name: names for name, (names, _) in found.regions.items()} == {"rdms": ("x", "y")}
    assert found.images is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: one + np.triu(np.ones((8, 8)), 1), "not symmetric"),
        (lambda one: one + np.eye(8), "not 0 on the diagonal"),
        (lambda one: one * np.inf, "infinite"),
    ],
)
def test_matrices_that_are_no_rdms_are_told(tmp_path: Path, change: object, told: str) -> None:
    with np.errstate(invalid="ignore"):
        np.savez(tmp_path / "bad.npz", rdms=change(rdms(2)))  # type: ignore[operator]
    with pytest.raises(AlignedcutError, match=told):
        open_brain(tmp_path / "bad.npz")
    np.savez(tmp_path / "two.npz", a=rdms(2), b=rdms(2)[:, :5, :5])
    with pytest.raises(AlignedcutError, match="holds RDMs of 5, 8 images"):
        open_brain(tmp_path / "two.npz")


def test_rdms_have_no_signal_to_noise(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", rdms=rdms(2))
    with pytest.raises(AlignedcutError, match="these are RDMs"):
        open_brain(tmp_path / "set.npz", None, 0.2)
