"""The generator: shipped scenes come out again, masks tell the truth, colour alone does not name a category."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import binary_dilation
from sklearn.linear_model import LogisticRegression

from sample_data import SCENES
from sample_data.make.scenes import BACKGROUNDS, CATEGORIES, SIZE, VOCABULARY, names, scene, sentence, write_scenes

KINDS = {"images": "image", "category": "category", "instance": "instance", "background": "background"}


@pytest.mark.parametrize("seed", range(0, 64, 4))
def test_shipped_scenes_come_out_again(seed):
    made = scene(seed)
    for folder, field in KINDS.items():
        with Image.open(SCENES / folder / f"scene-{seed:04d}.png") as picture:
            assert np.array_equal(np.asarray(picture), getattr(made, field)), folder
    captions = json.loads((SCENES / "names.json").read_text())["captions"]
    assert captions[f"scene-{seed:04d}.png"] == " ".join(made.caption)


def test_written_files_are_the_shipped_ones(tmp_path):
    write_scenes(tmp_path, range(2))
    for folder in KINDS:
        for path in (tmp_path / folder).iterdir():
            with Image.open(path) as again, Image.open(SCENES / folder / path.name) as shipped:
                assert again.mode == shipped.mode and again.tobytes() == shipped.tobytes()


def test_captions_are_sentences_of_their_words():
    words = "word small left upper yellow face large right lower orange water bright"
    told = "a small yellow word at the upper left and a large orange face at the lower right, before water, in bright light"
    assert sentence(words.split()) == told
    alone = sentence(["ball", "small", "left", "upper", "red", "alone", "sky", "dark"])
    assert alone == "a small red ball at the upper left, before sky, in dark light"
    assert sentence(["empty", "brick", "dark"]) == "nothing, before brick, in dark light"
    shipped = json.loads((SCENES / "names.json").read_text())["captions"]
    lines = [f'{name},"{sentence(told.split())}"' for name, told in shipped.items()]
    assert (SCENES / "captions.csv").read_text().splitlines() == ["image,caption", *lines]


def test_every_category_and_background_is_shipped():
    shipped = json.loads((SCENES / "names.json").read_text())
    assert {key: shipped[key] for key in ("category", "background")} == names()
    for kind, named in names().items():
        seen = set()
        for path in (SCENES / kind).iterdir():
            with Image.open(path) as picture:
                seen |= set(np.unique(np.asarray(picture)).tolist())
        assert seen - {0} == set(range(1, len(named)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_masks_agree_with_each_other(seed):
    made = scene(seed)
    assert made.image.shape == (SIZE, SIZE, 3) and made.image.dtype == np.uint8
    assert np.array_equal(made.instance > 0, made.category > 0)
    assert {placed.instance for placed in made.objects} == set(np.unique(made.instance).tolist()) - {0}
    for placed in made.objects:
        assert set(made.category[made.instance == placed.instance].tolist()) == {placed.category + 1}
    assert len(made.objects) <= 3
    assert made.background_kind + 1 in made.background and made.background.min() >= 1
    assert set(made.caption) <= set(VOCABULARY)


@pytest.mark.parametrize("seed", range(8))
def test_masks_agree_with_the_picture(seed):
    """Without its objects the picture is the same up to one gain a channel, but for the pixels of the mask."""
    made, empty = scene(seed, objects=(1, 3)), scene(seed, objects=(0, 0))
    whole, bare = made.image.astype(float), empty.image.astype(float)
    exact = ((whole < 250) & (bare < 250)).all(2)
    ground = exact & ~binary_dilation(made.instance > 0, iterations=2)
    gain = (whole[ground] * bare[ground]).sum(0) / np.square(bare[ground]).sum(0)
    gap = np.abs(whole - bare * gain).max(2)
    assert gap[ground].max() < 3
    assert np.median(gap[made.instance > 0]) > 15


@pytest.mark.parametrize("background", range(len(BACKGROUNDS)))
def test_restrictions_are_kept(background):
    category = background % len(CATEGORIES)
    made = scene(7, objects=(1, 1), categories=(category,), background=background)
    assert [placed.category for placed in made.objects] == [category]
    assert made.background_kind == background
    assert CATEGORIES[category] in made.caption and BACKGROUNDS[background] in made.caption


def test_encounters_show_the_same_objects_elsewhere():
    """The categories, tilts and colours of objects recur; places, sizes and backgrounds do not."""
    for seed in range(900, 930):
        first, second = (scene(seed, objects=(1, 1), radius=(0.3, 0.4), encounter=number) for number in range(2))
        assert [one.category for one in first.objects] == [one.category for one in second.objects]
        one, other = first.objects[0], second.objects[0]
        assert (one.angle, one.is_mirrored) == (other.angle, other.is_mirrored)
        assert one.centre != other.centre and one.radius != other.radius
        again = scene(seed, objects=(1, 1), radius=(0.3, 0.4), encounter=1)
        assert np.array_equal(again.image, second.image)
    kinds = [[scene(seed, encounter=number).background_kind for number in range(2)] for seed in range(900, 940)]
    assert 0 < sum(one == other for one, other in kinds) < 15


def test_background_shows_in_the_picture():
    """Sky above the horizon and ground below: the label changes where the horizon is."""
    made = scene(3, background=BACKGROUNDS.index("sand"), objects=(0, 0))
    rows = (made.background == 1 + BACKGROUNDS.index("sky")).all(1)
    assert abs(rows.sum() / SIZE - made.horizon) < 0.02


def test_mean_colour_does_not_name_the_category():
    colours, kinds = [], []
    for seed in range(900_000, 900_330):
        made = scene(seed, objects=(1, 3))
        for placed in made.objects:
            colours.append(made.image[made.instance == placed.instance].mean(0) / 255)
            kinds.append(placed.category)
    half = len(kinds) * 2 // 3
    probe = LogisticRegression(C=1e3, max_iter=2000).fit(colours[:half], kinds[:half])
    accuracy = probe.score(colours[half:], kinds[half:])
    assert 0.2 < accuracy < 0.7
