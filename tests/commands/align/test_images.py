"""Which images `align` is fitted to: matching, splits, tables of responses, and that test images never count."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from alignedcut_cli.commands.align.run import Tokens
from alignedcut_cli.frame.pairs import Pairs, split_images
from alignedcut_cli.nodes.slots import find_slots
from alignedcut_cli.store.artifact import read_header
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.project import Project
from tests.brain.test_mapping import Calls, npy, pickled
from tests.conftest import Cli, Run
from tests.helpers.aligning import (
    FIRST,
    IMAGES,
    SECOND,
    VOXELS,
    Made,
    image_entries,
    image_names,
    make_world,
    refused,
    responses_to,
    write_csv,
    write_made,
)

FITTED = ("transform.000", "transform.001", "beta", "eps", "losses", "heldout")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return make_world(tmp_path)


def align(cli: Cli, world: Path, *options: object, brain: Path | None = None) -> Run:
    words = [] if "--from" in options else ["--from", "first"]
    place = ("-p", world / "study", "--no-pictures", "--name", "w", "--overwrite", "--epochs", 2)
    return cli("align", "--brain", brain or world / "responses.csv", *words, *options, *place)


def made(run: Run) -> dict[str, np.ndarray]:
    assert run.status == 0, run.err
    return load_file(run.out.strip())


def images_of(run: Run) -> list[str]:
    return [image["path"] for image in read_header(Path(run.out.strip())).axes["I"]["images"]]


def lines(path: Path, names: Sequence[str]) -> Path:
    path.write_text("\n".join(names) + "\n")
    return path


# matching


def test_the_order_of_images_in_a_feature_set_does_not_matter(cli: Cli, world: Path) -> None:
    order = np.random.default_rng(0).permutation(IMAGES).tolist()
    write_made(Project(world / "study"), "mixed", FIRST, order=order)
    straight, mixed = made(align(cli, world)), made(align(cli, world, "--from", "mixed"))
    for name, array in straight.items():
        np.testing.assert_array_equal(array, mixed[name], err_msg=name)


def test_two_feature_sets_may_have_other_orders(cli: Cli, world: Path) -> None:
    order = np.random.default_rng(0).permutation(IMAGES).tolist()
    write_made(Project(world / "study"), "mixed", SECOND, order=order)
    straight = made(align(cli, world, "--from", "first", "--from", "second"))
    mixed = made(align(cli, world, "--from", "first", "--from", "mixed"))
    for name, array in straight.items():
        np.testing.assert_array_equal(array, mixed[name], err_msg=name)


def test_tokens_of_all_slots_are_those_of_the_same_places(world: Path) -> None:
    """Two sets of the same grid, one with its images in another order: each token tells its image and its place."""
    project, order = Project(world / "study"), np.random.default_rng(0).permutation(IMAGES).tolist()
    told = np.stack(np.meshgrid(np.arange(IMAGES), np.arange(6), indexing="ij"), 2).astype(np.float32)  # (B, P, 2)
    both = Made({0: 2, 1: 2}, seed=5)
    write_made(project, "straight", both, values={0: told, 1: told})
    write_made(project, "mixed", both, values={0: told, 1: told}, order=order)
    slots, sets = [], [FeatureSet(project.path("features", name)) for name in ("straight", "mixed")]
    for features in sets:
        slots += find_slots(features, "all")
    rows = [np.arange(IMAGES), np.argsort(order)]
    tokens = Tokens(slots, (0, 0, 1, 1), rows, torch.device("cpu"))
    assert tokens.places == [0, 0, 0, 0]
    drawn = tokens.draw(torch.tensor([3, 1, 30, 7]), 15, torch.Generator())
    assert all(torch.equal(one, drawn[0]) for one in drawn)
    assert len(np.unique(drawn[0].numpy(), axis=0)) == 15
    assert set(drawn[0][:, 0].tolist()) <= {3.0, 1.0, 30.0, 7.0}


def test_slots_whose_tokens_lie_elsewhere_are_told(cli: Cli, world: Path) -> None:
    """The first set keeps all tokens of 2 x 3 patches, the second a sample of a class token and 2 x 2 patches."""
    told = "tokens of 2 sets of places"
    apart = align(cli, world, "--from", "first", "--from", "second")
    assert apart.status == 0
    assert told in apart.err
    assert told not in align(cli, world, "--from", "first", "--from", "second", "--agree", 0).err
    assert told not in align(cli, world, "--from", "first").err


def test_renamed_copies_are_matched_by_their_content(cli: Cli, world: Path) -> None:
    names = image_names()
    for name in names:
        (world / name).write_text(name)
    images = image_entries([f"copies/{number}.png" for number in range(IMAGES)], names)
    write_made(Project(world / "study"), "copies", FIRST, images)
    run = align(cli, world, "--from", "copies")
    assert made(run)["split"].shape == (IMAGES,)
    assert images_of(run) == names


def test_surplus_images_and_rows_are_named_and_change_nothing(cli: Cli, world: Path) -> None:
    names = image_names()
    straight = made(align(cli, world))
    more = ["other-a.png", *names[:20], "other-b.png", *names[20:]]
    values = np.insert(responses_to(names), [0, 20], 9.0, axis=0)
    table = write_csv(world / "more.csv", more, values)
    run = align(cli, world, brain=table)
    assert "features/first: 2 images have no features: other-a.png, other-b.png" in run.err
    found = made(run)
    for name in (*FITTED, "split", "r2.test"):
        np.testing.assert_array_equal(straight[name], found[name], err_msg=name)
    few = write_csv(world / "few.csv", names[:-5], responses_to(names)[:-5])
    run = align(cli, world, brain=few)
    assert f"features/first: 5 images have no responses: {', '.join(names[-5:-2])} and 2 more" in run.err
    assert len(made(run)["split"]) == IMAGES - 5
    assert "images have" not in align(cli, world, "-q", brain=few).err


def test_feature_sets_share_only_some_images(cli: Cli, world: Path) -> None:
    project, names = Project(world / "study"), image_names()
    write_made(project, "half", SECOND, image_entries(names[10:]))
    run = align(cli, world, "--from", "first", "--from", "half")
    assert images_of(run) == names[10:]
    assert "features/half: 10 images have no features" in run.err
    write_made(project, "early", FIRST, image_entries(names[:20]))
    write_made(project, "late", SECOND, image_entries(names[20:]))
    refused(align(cli, world, "--from", "early", "--from", "late", "--json"), 65, "no-match")


def test_nothing_matches(cli: Cli, world: Path) -> None:
    table = write_csv(world / "other.csv", [f"x-{number}.png" for number in range(20)], np.eye(20, dtype=np.float32))
    message = refused(align(cli, world, "--json", brain=table), 65, "no-match")["message"]
    assert "none of the 40 images of features/first has responses" in message
    assert "image-00.png" in message and "x-0.png" in message


@pytest.mark.parametrize(
    ("count", "few"), [(1, "to fit"), (8, "to fit"), (10, "held out"), (11, "to test on"), (15, "")]
)
def test_too_few_images(cli: Cli, world: Path, count: int, few: str) -> None:
    """Of 15 images 2 are for the test, and 2 of the other 13 are held out."""
    names = image_names(count)
    table = write_csv(world / "few.csv", names, np.arange(count * 3, dtype=np.float32).reshape(count, 3) ** 0.5)
    run = align(cli, world, "--json", brain=table)
    if few and count > 1:
        assert few in refused(run, 65, "too-few-images")["message"]
    elif few:
        refused(run, 65, "no-voxel")
    else:
        assert run.status == 0, run.err


# splits


def split_of(run: Run) -> np.ndarray:
    return made(run)["split"]


def test_even_odd(cli: Cli, world: Path) -> None:
    split = split_of(align(cli, world, "--test-split", "even-odd"))
    assert np.flatnonzero(split == 2).tolist() == list(range(1, IMAGES, 2))


@pytest.mark.parametrize(("asked", "count"), [("auto", 4), ("last:10%", 4), ("last:50%", 20), ("last:12.5%", 5)])
def test_the_last_share(cli: Cli, world: Path, asked: str, count: int) -> None:
    split = split_of(align(cli, world, "--test-split", asked))
    assert np.flatnonzero(split == 2).tolist() == list(range(IMAGES - count, IMAGES))
    assert (split == 1).sum() == (IMAGES - count) // 5
    assert set(split.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("style", ["name", "stem", "folder"])
def test_a_file_of_names(cli: Cli, world: Path, style: str) -> None:
    names = image_names()
    wanted = [3, 7, 8, 30]
    said = {"name": names, "stem": [Path(name).stem for name in names], "folder": [f"a/b/{name}" for name in names]}
    table = write_csv(world / "table.csv", [f"a/b/{name}" for name in names], responses_to(names))
    chosen = lines(world / "test.txt", [said[style][number] for number in wanted])
    run = align(cli, world, "--test-split", chosen, brain=table)
    assert np.flatnonzero(split_of(run) == 2).tolist() == wanted
    assert read_header(Path(run.out.strip())).params["test_split"] == "file"


def test_a_file_from_windows_says_the_same(cli: Cli, world: Path) -> None:
    (world / "test.txt").write_bytes("\ufeffimage-03.png\r\n\r\n  image-09 \r\n".encode())
    split = split_of(align(cli, world, "--test-split", world / "test.txt"))
    assert np.flatnonzero(split == 2).tolist() == [3, 9]


def test_a_file_in_another_unicode_form_says_the_same(cli: Cli, world: Path) -> None:
    names = [f"Brücke {number}.png" for number in range(IMAGES)]
    table = write_csv(world / "table.csv", names, responses_to(image_names()))
    macos = [unicodedata.normalize("NFD", name) for name in names]
    write_made(Project(world / "study"), "macos", FIRST, image_entries(macos, image_names()))
    chosen = lines(world / "test.txt", [macos[3], macos[9].removesuffix(".png")])
    split = split_of(align(cli, world, "--from", "macos", "--test-split", chosen, brain=table))
    assert np.flatnonzero(split == 2).tolist() == [3, 9]


def test_where_the_file_lies_does_not_count_and_what_it_says_does(cli: Cli, world: Path) -> None:
    command = ("align", "--brain", world / "responses.csv", "--from", "first", "--epochs", 1, "--no-pictures")
    place = ("--name", "w", "-p", world / "study", "--json")
    one, same = (lines(world / name, ["image-01", "image-02"]) for name in ("one.txt", "same.txt"))
    other = lines(world / "other.txt", ["image-01", "image-03"])
    assert cli(*command, "--test-split", one, *place).object["made"] is True
    assert cli(*command, "--test-split", same, *place).object["made"] is False
    error = refused(cli(*command, "--test-split", other, *place), 73, "output-exists")
    assert list(error["details"]["diff"]) == ["split"]


def test_a_name_that_several_images_have_is_ambiguous(cli: Cli, world: Path) -> None:
    names = [f"{folder}/{name}" for folder in "ab" for name in image_names(20)]
    table = write_csv(world / "table.csv", names, responses_to(names))
    write_made(Project(world / "study"), "twice", FIRST, image_entries(names))
    options = ("--from", "twice", "--test-split", world / "test.txt")
    lines(world / "test.txt", ["image-03", "b/image-05.png"])
    error = refused(align(cli, world, *options, "--json", brain=table), 65, "bad-split")
    assert error["message"].endswith("several images are called image-03")
    lines(world / "test.txt", ["a/image-05.png", "b/image-05.png"])
    assert np.flatnonzero(split_of(align(cli, world, *options, brain=table)) == 2).tolist() == [5, 25]


@pytest.mark.parametrize("asked", ["last:0%", "last:100%", "last:200%", "last:x", "last:", "last:10", "last:-5%"])
def test_shares_that_cannot_be(cli: Cli, world: Path, asked: str) -> None:
    refused(align(cli, world, "--test-split", asked, "--json"), 2, "bad-split")


def test_files_that_cannot_be(cli: Cli, world: Path) -> None:
    chosen = lines(world / "test.txt", ["image-01", "image-77", "nothing.png"])
    error = refused(align(cli, world, "--test-split", chosen, "--json"), 65, "bad-split")
    assert "2 images without responses and features: image-77, nothing.png" in error["message"]
    for missing in ("nonsense", "given.txt", world):
        refused(align(cli, world, "--test-split", missing, "--json"), 66, "split-missing")
    chosen.write_bytes(b"\xff\xfe\x00\x81")
    assert "no text file" in refused(align(cli, world, "--test-split", chosen, "--json"), 65, "bad-split")["message"]
    chosen.write_text("")
    assert (
        "0 to test on" in refused(align(cli, world, "--test-split", chosen, "--json"), 65, "too-few-images")["message"]
    )
    refused(align(cli, world, "--test-split", lines(chosen, image_names()[:31]), "--json"), 65, "too-few-images")
    assert (
        "0 to test on" in refused(align(cli, world, "--test-split", "given", "--json"), 65, "too-few-images")["message"]
    )


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(test=st.sets(st.integers(0, IMAGES - 1), min_size=2, max_size=20), seed=st.integers(0, 99))
def test_responses_to_test_images_are_never_fitted(cli: Cli, world: Path, test: set[int], seed: int) -> None:
    """Whatever the responses to the test images are, the fit is the same to the last bit; only test scores differ."""
    names = image_names()
    chosen = lines(world / "test.txt", [names[number] for number in sorted(test)])
    options = ("--test-split", chosen, "--seed", seed, "-q")
    values = responses_to(names)
    before = made(align(cli, world, *options))
    values[sorted(test)] = np.random.default_rng(seed).standard_normal((len(test), VOXELS)) * 50
    after = made(align(cli, world, *options, brain=write_csv(world / "changed.csv", names, values)))
    for name in (*FITTED, "split", "r2.train", "pearson.train"):
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    assert not np.array_equal(before["r2.test"], after["r2.test"])
    parts = [set(np.flatnonzero(before["split"] == part).tolist()) for part in range(3)]
    assert parts[2] == test
    assert set.union(*parts) == set(range(IMAGES)) and sum(map(len, parts)) == IMAGES
    assert len(parts[1]) == (IMAGES - len(test)) // 5


def test_features_of_test_images_are_never_fitted(cli: Cli, world: Path) -> None:
    images = image_entries(image_names())
    values = {layer: FIRST.values(images, layer) for layer in FIRST.widths}
    before = made(align(cli, world))
    for whole in values.values():
        whole[-4:] = np.random.default_rng(1).standard_normal(whole[-4:].shape) * 100
    write_made(Project(world / "study"), "changed", FIRST, values=values)
    after = made(align(cli, world, "--from", "changed"))
    for name in (*FITTED, "split", "r2.train"):
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    assert not np.array_equal(before["r2.test"], after["r2.test"])


# tables


def test_tables_of_all_kinds_say_the_same(cli: Cli, world: Path) -> None:
    names, values = image_names(), responses_to(image_names())
    np.savez(world / "table.npz", responses=values, images=np.array(names))
    save_file({"responses": values}, world / "table.safetensors")
    lines(world / "table.images.txt", names)
    straight = made(align(cli, world))
    for suffix in (".npz", ".safetensors"):
        found = made(align(cli, world, brain=world / f"table{suffix}"))
        for name, array in straight.items():
            np.testing.assert_allclose(array, found[name], atol=1e-4, err_msg=name)


def test_rois_and_a_ceiling_of_a_table(cli: Cli, world: Path) -> None:
    masks = {"roi.left": np.arange(VOXELS) < 2, "roi.right": np.arange(VOXELS) >= 2, "roi.none": np.zeros(VOXELS, bool)}
    ceiling = np.array([0.5, np.nan, 0.8, 0.8, 0.0, 1.0], np.float32)
    names = image_names()
    np.savez(world / "t.npz", responses=responses_to(names), images=np.array(names), ceiling=ceiling, **masks)
    run = align(cli, world, "--json", brain=world / "t.npz")
    assert run.status == 0, run.err
    assert "no voxel in: none" in run.err
    rows = {row["roi"]: row for row in run.object["rois"]}
    assert list(rows) == ["left", "right", "all"]
    assert [row["voxels"] for row in rows.values()] == [2, 4, 6]
    found = load_file(run.object["path"])
    np.testing.assert_allclose(found["ceiling"], np.nan_to_num(ceiling, nan=-1))
    assert rows["left"]["ceiling"] == 0.5
    assert rows["left"]["share"] == pytest.approx(found["r2.test"][0] / 0.5, rel=1e-6)
    assert rows["right"]["ceiling"] == pytest.approx(0.65)


def test_a_table_of_one_channel(cli: Cli, world: Path) -> None:
    table = write_csv(world / "one.csv", image_names(), responses_to(image_names())[:, :1])
    run = align(cli, world, brain=table)
    assert made(run)["beta"].shape[1] == 1
    assert read_header(Path(run.out.strip())).raw["rois"][0]["voxels"] == 1


def test_unusable_channels_are_dropped_and_named_once(cli: Cli, world: Path) -> None:
    values = responses_to(image_names())
    values[:, 1] = 3
    values[2, 4] = np.nan
    run = align(cli, world, brain=write_csv(world / "odd.csv", image_names(), values))
    assert run.err.count("dropped") == 1
    assert "2 of 6 voxels dropped (1 with NaN or infinity, 1 constant): columns 1, 4" in run.err
    found = made(run)
    assert found["dropped"].tolist() == [1, 4]
    assert found["voxels"].tolist() == [0, 2, 3, 5]
    assert found["beta"].shape[1] == 4
    assert align(cli, world, "-q", brain=world / "odd.csv").err == ""


def test_a_channel_that_is_constant_over_the_test_images_scores_nothing(cli: Cli, world: Path) -> None:
    values = responses_to(image_names())
    values[-4:, 2] = 1.5
    found = made(align(cli, world, brain=write_csv(world / "odd.csv", image_names(), values)))
    assert found["r2.test"][2] == found["pearson.test"][2] == 0


# subjects


def subjects(brain_folder: Path, folder: Path) -> Path:
    for name in ("subj01", "subj02"):
        shutil.copytree(brain_folder, folder / "subjects" / name)
    path = folder / "subjects/subj02/training_split/training_fmri/lh_training_fmri.npy"
    np.save(path, -np.load(path))
    return folder / "subjects"


def test_subject_chooses(cli: Cli, brain_study: Path, brain_folder: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(brain_study, tmp_path / "study"))
    where = subjects(brain_folder, tmp_path)
    command = ("align", "--from", "seen", "--layers", 5, "--epochs", 0, "--no-pictures", "-p", study, "--json")
    error = refused(cli(*command, "--brain", where), 2, "subject-choice")
    assert "1, 2" in error["message"]
    one = cli(*command, "--brain", where, "--subject", 1, "--name", "one")
    assert one.object["made"] is True
    assert cli(*command, "--brain", brain_folder, "--name", "one").object["made"] is False
    refused(cli(*command, "--brain", where, "--subject", 2, "--name", "one"), 73, "output-exists")
    refused(cli(*command, "--brain", where, "--subject", 3), 66, "subject-missing")


def test_a_lacking_roi_is_a_note(cli: Cli, brain_study: Path, brain_folder: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(brain_study, tmp_path / "study"))
    subject = Path(shutil.copytree(brain_folder, tmp_path / "subj01"))
    (subject / "roi_masks/mapping_floc-faces.npy").unlink()
    (subject / "roi_masks/lh.floc-bodies_challenge_space.npy").unlink()
    run = cli("align", "--brain", subject, "--from", "seen", "--layers", 5, "--epochs", 0, "--no-pictures", "-p", study)
    assert run.status == 0, run.err
    assert "the ROIs of floc-faces are" in run.err and "lh.floc-bodies_challenge_space.npy is missing" in run.err
    labels = read_header(Path(run.out.strip())).axes["R"]["labels"]
    assert "FFA" not in labels and "EBA" in labels


def test_a_pickle_that_would_run_code_is_refused(
    cli: Cli, brain_study: Path, brain_folder: Path, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(brain_study, tmp_path / "study"))
    subject = Path(shutil.copytree(brain_folder, tmp_path / "subj01"))
    touched = tmp_path / "touched"
    hostile = npy(pickled({0: Calls(Path.touch, touched)}))
    (subject / "roi_masks/mapping_streams.npy").write_bytes(hostile)
    run = cli("align", "--brain", subject, "--from", "seen", "--no-pictures", "-p", study, "--json")
    assert "mapping_streams.npy" in refused(run, 65, "pickle-refused")["message"]
    assert not touched.exists()
    assert not (study / "align").exists() and not (study / "pictures").exists()


@pytest.mark.parametrize(
    ("training", "heldout"), [(10, 2), (24, 4), (49, 9), (50, 10), (100, 10), (106, 11), (800, 80)]
)
def test_a_tenth_is_held_out_but_of_few_images_a_fifth(training: int, heldout: int) -> None:
    count = training + 2
    names = tuple(image_names(count))
    given = np.arange(count) >= training
    _, split = split_images("given", Pairs(np.arange(count), (np.arange(count),), names), given, 0)
    assert np.bincount(split).tolist() == [training - heldout, heldout, 2]


def test_few_held_out_images_are_told_of(cli: Cli, world: Path) -> None:
    told = "7 held-out images choose the penalty, the rank and the epoch, which is little to go by"
    run = cli(
        "align",
        "--brain",
        world / "responses.csv",
        "--from",
        "first",
        "--epochs",
        0,
        "--no-pictures",
        "-p",
        world / "study",
    )
    assert run.status == 0
    assert told in run.err
