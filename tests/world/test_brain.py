"""The simulated brain: the layout of Algonauts 2023, known ceilings, and areas that prefer what they should."""

import numpy as np
import pytest
from PIL import Image

from sample_data.make.brain import FIRST_SEED, MAPPINGS, simulate, write_brain
from sample_data.make.responses import AREAS, early_maps, early_signal, late_features, late_signal, receptive_fields
from sample_data.make.scenes import BACKGROUNDS, CATEGORIES, SIZE, scene

TRAINING, TEST = 30, 10
HEMISPHERES = ("lh", "rh")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subject")
    write_brain(folder, TRAINING, TEST)
    return folder


@pytest.fixture(scope="module")
def features():
    return late_features([scene(seed) for seed in range(200)])


def test_layout_is_that_of_algonauts(folder):
    pictures = sorted(path.name for path in (folder / "training_split/training_images").iterdir())
    assert pictures[0] == f"train-0001_nsd-{FIRST_SEED:05d}.png" and len(pictures) == TRAINING
    assert len(list((folder / "test_split/test_images").glob("test-*_nsd-*.png"))) == TEST
    for hemisphere in HEMISPHERES:
        responses = np.load(folder / f"training_split/training_fmri/{hemisphere}_training_fmri.npy")
        held = np.load(folder / f"test_split/test_fmri/{hemisphere}_test_fmri.npy")
        ceiling = np.load(folder / f"noise_ceiling/{hemisphere}_noise_ceiling.npy")
        assert responses.dtype == held.dtype == ceiling.dtype == np.float32
        assert responses.shape == (TRAINING, len(ceiling)) and held.shape == (TEST, len(ceiling))
        assert np.isfinite(responses).all() and ceiling.min() >= 0 and ceiling.max() <= 0.8
        for family in MAPPINGS:
            labels = np.load(folder / f"roi_masks/{hemisphere}.{family}_challenge_space.npy")
            assert labels.shape == ceiling.shape and np.issubdtype(labels.dtype, np.integer)


def test_every_area_has_its_voxels(folder):
    counts = dict.fromkeys(AREAS, 0)
    for family in set(MAPPINGS) - {"streams"}:
        mapping = np.load(folder / f"roi_masks/mapping_{family}.npy", allow_pickle=True).item()
        for hemisphere in HEMISPHERES:
            labels = np.load(folder / f"roi_masks/{hemisphere}.{family}_challenge_space.npy")
            for value in np.unique(labels[labels > 0]):
                counts[mapping[value]] += int((labels == value).sum())
    assert counts == {area: 2 * count for area, (_, _, count) in AREAS.items()}
    assert 1800 <= sum(counts.values()) <= 2200


def test_mappings_hold_nothing_but_numbers_and_names(folder):
    for family in MAPPINGS:
        mapping = np.load(folder / f"roi_masks/mapping_{family}.npy", allow_pickle=True).item()
        assert type(mapping) is dict and mapping[0] == "Unknown"
        assert all(type(key) is int and type(value) is str for key, value in mapping.items())


def test_rows_belong_to_the_pictures(folder):
    for row in (0, TRAINING - 1):
        name = f"train-{row + 1:04d}_nsd-{FIRST_SEED + row:05d}.png"
        with Image.open(folder / "training_split/training_images" / name) as picture:
            assert np.array_equal(np.asarray(picture), scene(FIRST_SEED + row).image)


def test_the_subject_is_always_the_same(folder, tmp_path):
    write_brain(tmp_path, TRAINING, TEST)
    for path in sorted(tmp_path.rglob("*.*")):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path.name


@pytest.mark.parametrize("hemisphere", HEMISPHERES)
def test_ceilings_are_true(hemisphere):
    draws = np.random.default_rng(0)
    maps = draws.random((500, 14, 576)).astype(np.float32)
    shapes = {"presence": 10, "size": 10, "left": 10, "right": 10, "background": 8, "layout": 3}
    features = {key: draws.random((500, width)) for key, width in shapes.items()}
    subject = simulate(hemisphere, maps, features, 400)
    centred = subject.response - subject.response.mean(0)
    fitted = np.square((centred * subject.signal).mean(0)) / (centred.var(0) * subject.signal.var(0) + 1e-9)
    real = subject.areas != "Unknown"
    assert np.abs(fitted - subject.ceiling)[real].max() < 0.15
    assert abs((fitted - subject.ceiling)[real].mean()) < 0.01
    assert (subject.ceiling[~real] == 0).all() and fitted[~real].max() < 0.05
    assert np.allclose(subject.signal[:400, real].std(0), 1, atol=1e-3)


@pytest.mark.parametrize(("area", "hemisphere", "rows", "columns"), [
    ("V1v", "lh", "upper", "right"), ("V1v", "rh", "upper", "left"),
    ("V1d", "lh", "lower", "right"), ("V2d", "rh", "lower", "left"), ("V3v", "lh", "upper", "right"),
])  # fmt: skip
def test_early_areas_see_their_quadrant(area, hemisphere, rows, columns):
    """A noise patch in one quadrant of a grey picture moves the areas that look there most."""
    half = {"upper": slice(0, SIZE // 2), "lower": slice(SIZE // 2, SIZE)}
    side = {"left": slice(0, SIZE // 2), "right": slice(SIZE // 2, SIZE)}
    places = [(y, x) for y in half for x in side]
    pictures = np.full((4, SIZE, SIZE, 3), 128, np.uint8)
    for picture, (y, x) in zip(pictures, places, strict=True):
        noise = np.random.default_rng(1).integers(0, 256, (SIZE // 2, SIZE // 2, 1))
        picture[half[y], side[x]] = noise
    maps = np.stack([early_maps(picture) for picture in pictures])
    draws = np.random.default_rng(5)
    _, fields = receptive_fields(area, hemisphere, draws, 60)
    signal = early_signal(maps, fields, "early", draws).mean(1)
    assert places[int(signal.argmax())] == (rows, columns)


def test_oriented_energy_is_selective():
    x = np.arange(SIZE)
    wave = (127 + 100 * np.cos(2 * np.pi * x / 5)).astype(np.uint8)
    upright = np.broadcast_to(wave[None, :, None], (SIZE, SIZE, 3))
    flat = np.broadcast_to(wave[:, None, None], (SIZE, SIZE, 3))
    one, other = early_maps(upright).mean(1), early_maps(flat).mean(1)
    assert one[:4].argmax() == 0 and other[:4].argmax() == 2


@pytest.mark.parametrize(("area", "category"), [
    ("FFA-1", "face"), ("OFA", "face"), ("EBA", "body"), ("FBA-2", "body"), ("VWFA-1", "word"), ("OWFA", "word"),
])  # fmt: skip
def test_late_areas_prefer_their_category(features, area, category):
    signal = late_signal(area, "lh", features, np.random.default_rng(0), 30).mean(1)
    gains = [np.corrcoef(signal, features["presence"][:, kind])[0, 1] for kind in range(len(CATEGORIES))]
    assert CATEGORIES[int(np.argmax(gains))] == category and max(gains) > 0.6


def test_late_areas_prefer_the_other_half_field(features):
    """Where a face is further right, the left hemisphere's lead over the right one is larger."""
    left, right = (late_signal("FFA-1", side, features, np.random.default_rng(0), 60).mean(1) for side in HEMISPHERES)
    face = CATEGORIES.index("face")
    further = features["right"][:, face] - features["left"][:, face]
    assert np.corrcoef(left - right, further)[0, 1] > 0.8


def test_scene_areas_tell_the_background(features):
    design = np.concatenate([features["background"], np.ones((200, 1))], axis=1)
    for area, least in (("PPA", 0.4), ("OPA", 0.4)):
        signal = late_signal(area, "rh", features, np.random.default_rng(0), 30).mean(1)
        rest = signal - design @ np.linalg.lstsq(design, signal, rcond=None)[0]
        assert 1 - rest.var() / signal.var() > least
    assert features["background"].shape[1] == len(BACKGROUNDS)
