"""A subject of Algonauts 2023: rows tied to images, hemispheres side by side, ROIs and ceilings, and what may be missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.brain import GROUPS, open_responses
from alignedcut_cli.brain import recording as module
from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError, UsageError
from sample_data.make.responses import AREAS
from tests.helpers.brains import (
    FAMILIES,
    LEFT,
    RIGHT,
    TEST,
    TRAINING,
    fmri,
    make_subject,
    picture,
    save,
    save_mapping,
    values,
)


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    return make_subject(tmp_path / "subj03")


def whole(kind: str = "training") -> np.ndarray:
    return np.concatenate([values(kind, "lh"), values(kind, "rh")], axis=1)


def where(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


# the layout


def test_rows_are_training_then_test_and_columns_left_then_right(subject: Path) -> None:
    found = open_responses(subject)
    assert found.source == "algonauts"
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, np.concatenate([whole(), whole("test")]))
    assert found.given.tolist() == [False] * TRAINING + [True] * TEST
    assert found.images[0] == "train-0001_nsd-00013.png" and found.images[-1] == "test-0002_nsd-00026.png"
    assert [file.name for file in found.files if file and file.is_file()] == list(found.images)
    assert found.voxels.tolist() == list(range(LEFT + RIGHT)) and found.voxels.dtype == np.int64
    assert found.dropped.tolist() == [] and found.left == LEFT


def test_rois_of_both_hemispheres_merge_and_groups_are_made_of_their_parts(subject: Path) -> None:
    rois = open_responses(subject).rois
    assert {name: where(mask) for name, mask in rois.items()} == {
        "V1v": [0, 1, 6], "V1d": [2, 5], "hV4": [4], "EBA": [3, 7], "OFA": [8], "FFA-1": [3], "FFA-2": [7], "PPA": [8],
        "early": [0, 1, 2, 5, 6], "ventral": [4, 8], "V1": [0, 1, 2, 5, 6], "V4": [4], "FFA": [3, 7],
    }  # fmt: skip
    assert list(rois)[-3:] == ["V1", "V4", "FFA"]
    assert all(mask.dtype == bool for mask in rois.values())


def test_what_has_no_voxel_is_one_note(subject: Path) -> None:
    found = open_responses(subject)
    assert found.absent == ("mTL-bodies", "OPA", "OWFA", "VWFA-1", "VWFA-2", "VWFA")
    assert found.notes == ("no voxel in: mTL-bodies, OPA, OWFA, VWFA-1, VWFA-2, VWFA",)


def test_ceilings_are_side_by_side(subject: Path) -> None:
    ceiling = open_responses(subject).ceiling
    assert ceiling is not None and ceiling.dtype == np.float32
    np.testing.assert_allclose(ceiling, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], rtol=1e-6)


def test_the_simulated_brain_is_read_whole(brain_folder: Path) -> None:
    found = open_responses(brain_folder)
    assert found.values.shape == (32, found.left * 2 if found.left else 0) and found.given.sum() == 8
    assert {name: int(found.rois[name].sum()) for name in AREAS} == {area: 2 * n for area, (_, _, n) in AREAS.items()}
    assert set(GROUPS) <= set(found.rois)
    for name, parts in GROUPS.items():
        np.testing.assert_array_equal(found.rois[name], np.any([found.rois[part] for part in parts], 0))


# relations


def test_the_order_of_numbers_in_memory_and_their_type_do_not_matter(subject: Path, tmp_path: Path) -> None:
    before = open_responses(subject).identity
    save(fmri(subject, "lh"), np.asfortranarray(values("training", "lh").astype(np.float64)))
    assert open_responses(subject).identity == before
    assert open_responses(Path(shutil.copytree(subject, tmp_path / "elsewhere"))).identity == before


def test_blocks_of_any_size_give_the_same(subject: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_responses(subject).identity
    monkeypatch.setattr(module, "_BLOCK", 4 * 2 * (LEFT + RIGHT))
    assert open_responses(subject).identity == before


@pytest.mark.parametrize("what", ["values", "test", "images", "rois", "ceiling"])
def test_the_identity_is_of_all_that_was_read(subject: Path, what: str) -> None:
    before = open_responses(subject).identity
    if what in ("values", "test"):
        kind = "training" if what == "values" else "test"
        save(fmri(subject, "rh", kind), values(kind, "rh") + np.float32(1))
    elif what == "images":
        picture(subject, 1).rename(picture(subject, 1).with_name("train-0002_nsd-99999.png"))
    elif what == "rois":
        save(subject / "roi_masks/lh.floc-bodies_challenge_space.npy", [0, 0, 0, 0, 1])
    else:
        save(subject / "noise_ceiling/rh_noise_ceiling.npy", np.full(RIGHT, 0.5))
    assert open_responses(subject).identity != before


# voxels that cannot be used


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_with_nan_or_infinity_or_a_constant_are_dropped_and_listed(subject: Path, bad: float) -> None:
    left, right, test = values("training", "lh"), values("training", "rh"), values("test", "rh")
    left[3, 1] = bad
    right[:, 0] = 7.5
    test[1, 2] = bad
    save(fmri(subject, "lh"), left)
    save(fmri(subject, "rh"), right)
    save(fmri(subject, "rh", "test"), test)
    found = open_responses(subject)
    assert found.dropped.tolist() == [1, 5, 7]
    assert found.voxels.tolist() == [0, 2, 3, 4, 6, 8]
    assert "3 of 9 voxels dropped (2 with NaN or infinity, 1 constant): columns 1, 5, 7" in found.notes
    np.testing.assert_array_equal(found.values[:TRAINING], whole()[:, found.voxels])
    assert where(found.rois["V1v"]) == [0, 4] and found.voxels[found.rois["EBA"]].tolist() == [3]
    assert "FFA-2" in found.absent and where(found.rois["FFA"]) == [2]
    assert found.ceiling is not None
    np.testing.assert_allclose(found.ceiling, [0.1, 0.3, 0.4, 0.5, 0.7, 0.9], rtol=1e-6)


def test_a_trial_lost_in_one_hemisphere_is_left_out_of_both(subject: Path) -> None:
    left, right, test = values("training", "lh"), values("training", "rh"), values("test", "lh")
    left[2, 1:] = np.nan  # all but one of 5
    right[4] = np.nan
    test[0] = np.inf
    save(fmri(subject, "lh"), left)
    save(fmri(subject, "rh"), right)
    save(fmri(subject, "lh", "test"), test)
    found = open_responses(subject)
    assert found.lost == tuple(picture(subject, *one).name for one in ((2,), (4,), (0, "test")))
    assert found.dropped.tolist() == [] and found.given.tolist() == [False] * 4 + [True]
    np.testing.assert_array_equal(found.values[:4], whole()[[0, 1, 3, 5]])
    assert "3 of 8 rows left out, which lack more than half of their numbers: " + ", ".join(found.lost) in found.notes


def test_a_hemisphere_that_nobody_measured_loses_its_columns_and_no_row(subject: Path) -> None:
    for kind in ("training", "test"):
        save(fmri(subject, "rh", kind), np.full_like(values(kind, "rh"), np.nan))
    found = open_responses(subject)
    assert found.lost == () and found.dropped.tolist() == list(range(LEFT, LEFT + RIGHT))


def test_a_voxel_that_varies_only_in_the_test_rows_is_constant(subject: Path) -> None:
    left = values("training", "lh")
    left[:, 2] = left[0, 2]
    save(fmri(subject, "lh"), left)
    assert open_responses(subject).dropped.tolist() == [2]


def test_numbers_too_large_for_float32_count_as_infinite(subject: Path) -> None:
    left = values("training", "lh").astype(np.float64)
    left[0, 4] = 1e300
    save(fmri(subject, "lh"), left)
    assert open_responses(subject).dropped.tolist() == [4]


def test_no_usable_voxel_is_an_error(subject: Path) -> None:
    for hemisphere in ("lh", "rh"):
        save(fmri(subject, hemisphere), np.zeros_like(values("training", hemisphere)))
    with pytest.raises(DataError, match="no voxel of 9 is usable: 9 constant"):
        open_responses(subject)


# what may be missing


@pytest.mark.parametrize(("gone", "left"), [("rh", LEFT), ("lh", 0)])
def test_one_hemisphere_is_enough(subject: Path, gone: str, left: int) -> None:
    fmri(subject, gone).unlink()
    found = open_responses(subject)
    there = "lh" if gone == "rh" else "rh"
    np.testing.assert_array_equal(found.values[:TRAINING], values("training", there))
    assert found.left == left and found.given.sum() == TEST
    assert f"training_split/training_fmri/{gone}_training_fmri.npy is missing: one hemisphere only" in found.notes
    assert where(found.rois["V1v"]) == ([0, 1] if there == "lh" else [1])


def test_pictures_may_end_in_capitals(subject: Path) -> None:
    before = open_responses(subject)
    for path in (subject / "training_split" / "training_images").iterdir():
        path.rename(path.with_suffix(".PNG"))
    found = open_responses(subject)
    assert found.images[0] == "train-0001_nsd-00013.PNG"
    np.testing.assert_array_equal(found.values, before.values)


def test_rows_without_an_image_are_left_out_and_named(subject: Path) -> None:
    picture(subject, 1).unlink()
    picture(subject, 4).unlink()
    found = open_responses(subject)
    assert "2 of 6 training rows have no image and are left out: 2, 5" in found.notes
    np.testing.assert_array_equal(found.values[: TRAINING - 2], whole()[[0, 2, 3, 5]])
    assert found.images[1] == picture(subject, 2).name and len(found.images) == TRAINING + TEST - 2


def test_responses_that_the_challenge_held_back_are_a_note(subject: Path) -> None:
    shutil.rmtree(subject / "test_split/test_fmri")
    found = open_responses(subject)
    assert len(found.values) == TRAINING and not found.given.any()
    assert "2 test images have no responses: the challenge held them back" in found.notes
    shutil.rmtree(subject / "test_split")
    assert not any("test" in note for note in open_responses(subject).notes)


def test_test_responses_of_one_hemisphere_are_left_out(subject: Path) -> None:
    fmri(subject, "rh", "test").unlink()
    found = open_responses(subject)
    assert not found.given.any() and "the test responses are left out: only lh is there" in found.notes


def test_test_responses_without_images_are_left_out(subject: Path) -> None:
    shutil.rmtree(subject / "test_split/test_images")
    found = open_responses(subject)
    assert not found.given.any() and "the test responses have no images and are left out" in found.notes


@pytest.mark.parametrize("name", ["mapping_floc-faces.npy", "rh.floc-faces_challenge_space.npy"])
def test_a_missing_mask_or_mapping_is_a_note(subject: Path, name: str) -> None:
    (subject / "roi_masks" / name).unlink()
    found = open_responses(subject)
    assert any(f"roi_masks/{name} is missing" in note for note in found.notes)
    assert "V1v" in found.rois and "FFA-2" not in found.rois
    assert ("FFA-1" in found.rois) == (name[0] != "m")


def test_without_masks_or_ceilings_there_are_responses(subject: Path) -> None:
    shutil.rmtree(subject / "roi_masks")
    shutil.rmtree(subject / "noise_ceiling")
    found = open_responses(subject)
    assert (dict(found.rois), found.ceiling) == ({}, None)
    assert found.notes == ("no noise ceiling for lh and rh", "no folder roi_masks, so no ROIs")


def test_a_label_without_a_name_is_a_note(subject: Path) -> None:
    save(subject / "roi_masks/lh.floc-bodies_challenge_space.npy", [0, 8, 9, 1, 0])
    found = open_responses(subject)
    assert "roi_masks/lh.floc-bodies_challenge_space.npy: no name for label 8, 9" in found.notes
    assert where(found.rois["EBA"]) == [3, 7]


def test_other_files_among_the_images_are_a_note(subject: Path) -> None:
    folder = picture(subject, 0).parent
    (folder / "Thumbs.db").write_text("")
    (folder / ".DS_Store").write_text("")
    assert "1 files in training_images are no train-NNNN_nsd-NNNNN.png: Thumbs.db" in open_responses(subject).notes


# ceilings


def test_percentages_are_divided_by_100_with_a_note(subject: Path) -> None:
    save(subject / "noise_ceiling/lh_noise_ceiling.npy", [0.5, 20, 30, np.nan, 100])
    save(subject / "noise_ceiling/rh_noise_ceiling.npy", [1, 0, 3, 4])
    found = open_responses(subject)
    assert found.ceiling is not None
    np.testing.assert_allclose(found.ceiling, [0.005, 0.2, 0.3, np.nan, 1, 0.01, 0, 0.03, 0.04], rtol=1e-6)
    assert any("percentages, divided by 100" in note for note in found.notes)


def test_a_ceiling_of_one_hemisphere_leaves_the_other_unknown(subject: Path) -> None:
    (subject / "noise_ceiling/lh_noise_ceiling.npy").unlink()
    found = open_responses(subject)
    assert found.ceiling is not None
    assert np.isnan(found.ceiling[:LEFT]).all() and not np.isnan(found.ceiling[LEFT:]).any()
    assert "no noise ceiling for lh" in found.notes


def test_a_ceiling_of_another_name_is_found_by_its_length(subject: Path) -> None:
    folder = subject / "noise_ceiling"
    (folder / "lh_noise_ceiling.npy").rename(folder / "lh.ncsnr_challenge_space.npy")
    save(folder / "lh.nc_fsaverage_space.npy", np.zeros(30))
    found = open_responses(subject)
    assert found.ceiling is not None and found.ceiling[0] == np.float32(0.1)


# errors


def two_ceilings(folder: Path) -> None:
    (folder / "noise_ceiling/lh_noise_ceiling.npy").unlink()
    for name in "ab":
        save(folder / f"noise_ceiling/lh.{name}.npy", np.zeros(LEFT))


def cut_off(folder: Path) -> None:
    path = fmri(folder, "lh")
    path.write_bytes(path.read_bytes()[:-4])


def objects(folder: Path) -> None:
    np.save(fmri(folder, "lh"), np.array([[1, "a"], [2, None]], object), allow_pickle=True)


ERRORS: dict[str, tuple[Callable[[Path], object], type[AlignedcutError], str]] = {
    "fmri-missing": (
        lambda folder: shutil.rmtree(fmri(folder, "lh").parent), InputMissingError, "lh_training_fmri.npy does not exist"
    ),
    "images-missing": (
        lambda folder: shutil.rmtree(picture(folder, 0).parent), InputMissingError, "holds no train-NNNN_nsd-NNNNN.png"
    ),
    "images-beyond-rows": (
        lambda folder: shutil.copy(picture(folder, 0), picture(folder, 6)), DataError, "6 rows, none for train-0007"
    ),
    "row-twice": (
        lambda folder: shutil.copy(picture(folder, 0), picture(folder, 0).with_name("train-01_nsd-5.png")), DataError,
        "are both row 1",
    ),
    "fmri-rows": (
        lambda folder: save(fmri(folder, "rh"), np.zeros((5, RIGHT))), DataError, "6 in lh and 5 in rh"
    ),
    "fmri-shape": (lambda folder: save(fmri(folder, "rh"), np.zeros(6)), DataError, r"\(images, vertices\)"),
    "npy-cut-off": (cut_off, DataError, "is cut off"),
    "npy-objects": (objects, DataError, "Python objects"),
    "npy-unreadable": (lambda folder: fmri(folder, "lh").write_bytes(b"PK\3\4zip"), DataError, "is no npy array"),
    "npy-type": (lambda folder: save(fmri(folder, "lh"), [["a"]]), DataError, "must hold numbers"),
    "test-vertices": (
        lambda folder: save(fmri(folder, "lh", "test"), np.zeros((2, 3))), DataError, "vertices in the test responses"
    ),
    "roi-length": (
        lambda folder: save(folder / "roi_masks/lh.streams_challenge_space.npy", [0] * 6), DataError, "each of 5 vertices"
    ),
    "roi-labels": (
        lambda folder: save(folder / "roi_masks/lh.streams_challenge_space.npy", [0.5] * 5), DataError, "whole numbers"
    ),
    "mapping-unreadable": (
        lambda folder: save_mapping(folder / "roi_masks/mapping_streams.npy", {"early": 1}), DataError, "str: int"  # type: ignore[dict-item]
    ),
    "ceiling-length": (
        lambda folder: save(folder / "noise_ceiling/lh_noise_ceiling.npy", [0.5]), DataError, "5 ceilings, one a vertex"
    ),
    "ceiling-range": (
        lambda folder: save(folder / "noise_ceiling/lh_noise_ceiling.npy", [0, 0, -0.5, 0, 0]), DataError, "-0.5 stands at 2"
    ),
    "ceiling-ambiguous": (two_ceilings, DataError, "lh.a.npy, lh.b.npy all fit lh"),
}  # fmt: skip


@pytest.mark.parametrize("code", ERRORS)
def test_what_does_not_fit_is_told(subject: Path, code: str) -> None:
    harm, kind, words = ERRORS[code]
    harm(subject)
    with pytest.raises(kind, match=words) as caught:
        open_responses(subject)
    assert caught.value.code == code


@pytest.mark.parametrize("value", [101.0, np.inf, -np.inf])
def test_no_ceiling_is_above_all_variance(subject: Path, value: float) -> None:
    save(subject / "noise_ceiling/lh_noise_ceiling.npy", [value, 50, 0, 0, 0])
    with pytest.raises(DataError, match="stands at 0"):
        open_responses(subject)


def test_many_missing_rows_are_named_by_the_first(subject: Path) -> None:
    for hemisphere, width in (("lh", LEFT), ("rh", RIGHT)):
        save(fmri(subject, hemisphere), np.random.default_rng(0).random((50, width)))
    assert (
        "44 of 50 training rows have no image and are left out: 7, 8, 9, 10, 11 and 39 more"
        in open_responses(subject).notes
    )


# which subject


@pytest.fixture
def subjects(tmp_path: Path) -> Path:
    for number in (1, 3):
        make_subject(tmp_path / "all" / f"subj{number:02d}")
    save(fmri(tmp_path / "all/subj03", "lh"), values("training", "lh") * 2)
    return tmp_path / "all"


def test_a_subject_is_chosen_by_its_number(subjects: Path) -> None:
    for number in (1, 3):
        chosen = open_responses(subjects, subject=number).identity
        assert chosen == open_responses(subjects / f"subj{number:02d}").identity
        assert chosen == open_responses(subjects / f"subj{number:02d}", subject=number).identity
    assert open_responses(subjects, subject=1).identity != open_responses(subjects, subject=3).identity


def test_the_only_subject_needs_no_choice(subjects: Path) -> None:
    shutil.rmtree(subjects / "subj01")
    assert open_responses(subjects).identity == open_responses(subjects / "subj03").identity


@pytest.mark.parametrize(
    "name", ["sub-03", "Subj03", "SUBJ03", "subject_3", "subj03/subj03", "subj03/data", "zip/subj03"]
)
def test_subjects_are_found_however_they_are_called_and_unpacked(tmp_path: Path, name: str) -> None:
    """An archive's outer folder may have its name twice, and macOS adds a folder of its own."""
    outer = tmp_path / "algonauts"
    make_subject(outer / name)
    (outer / "__MACOSX").mkdir()
    (outer / ".cache").mkdir()
    expected = open_responses(outer / name).identity
    for path in (outer, outer.parent, outer / name):
        assert open_responses(path).identity == expected
    assert open_responses(outer, subject=3).identity == expected
    with pytest.raises(InputMissingError, match="has no subj01"):
        open_responses(outer, subject=1)


def test_two_folders_of_one_subject_are_refused(subjects: Path) -> None:
    shutil.copytree(subjects / "subj03", subjects / "sub-3")
    with pytest.raises(UsageError, match="sub-3 and subj03 are both subject 3"):
        open_responses(subjects, subject=3)
    assert open_responses(subjects, subject=1).images


@pytest.mark.parametrize(
    ("path", "number", "kind", "words", "remedy"),
    [
        ("", None, UsageError, "holds the subjects 1, 3", "Give one as --subject"),
        ("", 2, InputMissingError, "has no subj02", "It has subj01, subj03"),
        ("subj01", 3, UsageError, "is itself a subject", "Leave --subject out"),
        ("nowhere", None, InputMissingError, "does not exist", "Check the path"),
        ("subj01/training_split", None, InputMissingError, "lh_training_fmri.npy does not exist", "subj01"),
        ("subj01/roi_masks", None, InputMissingError, "is no Algonauts 2023 subject", "subj01"),
        ("..", None, InputMissingError, "is no Algonauts 2023 subject", "training_split"),
    ],
)
def test_a_wrong_folder_is_told_with_what_to_do(
    subjects: Path, path: str, number: int | None, kind: type[AlignedcutError], words: str, remedy: str
) -> None:
    (subjects.parent / "more than one folder").mkdir()
    with pytest.raises(kind, match=words) as caught:
        open_responses(subjects / path, subject=number)
    assert remedy in caught.value.remedy


def test_all_families_of_the_release_are_read() -> None:
    from alignedcut_cli.brain.rois import FAMILIES as read

    assert set(read) == set(FAMILIES)


@pytest.mark.parametrize("label", [1e300, float("inf"), float("nan"), 2**40, -(2**63)])
def test_labels_that_no_integer_holds_are_refused(tmp_path: Path, label: float) -> None:
    folder = make_subject(tmp_path / "subj01")
    save(folder / "roi_masks/lh.streams_challenge_space.npy", [label] * 5)
    with pytest.raises(DataError, match="whole numbers as labels"):
        open_responses(folder)


def test_lengths_of_an_npy_are_numbers(tmp_path: Path) -> None:
    folder = make_subject(tmp_path / "subj01")
    path = fmri(folder, "lh")
    path.write_bytes(path.read_bytes().replace(b"(6, 5), }   ", b"(True, 5), }"))
    with pytest.raises(DataError, match="is no npy array"):
        open_responses(folder)
