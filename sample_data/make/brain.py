"""A simulated subject in the directory layout of Algonauts 2023.

`python -m sample_data.make.brain DIR` writes it: 800 training and 200 test scenes and their responses.
"""

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .responses import AREAS, early_maps, early_signal, late_features, late_signal, receptive_fields
from .scenes import Scene, scene, write_captions

__all__ = ["MAPPINGS", "TEST", "TRAINING", "Subject", "simulate", "write_brain"]

FIRST_SEED, TRAINING, TEST = 1000, 800, 200
_HEMISPHERES = ("lh", "rh")
_UNKNOWN = 40
_MOST_THREADS = 4
MAPPINGS = {
    "prf-visualrois": ("Unknown", "V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "floc-bodies": ("Unknown", "EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-faces": ("Unknown", "OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-places": ("Unknown", "OPA", "PPA", "RSC"),
    "floc-words": ("Unknown", "OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("Unknown", "early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
"""The released files' names and numbers; areas that we do not simulate keep their number and have no voxel."""
_STREAM = {"V": "early", "h": "midventral", "E": "lateral", "F": "ventral", "O": "midlateral", "P": "ventral"}


@dataclass(frozen=True)
class Subject:
    """One hemisphere's voxels: areas (voxels,) as names, signal and response (scenes, voxels), ceiling (voxels,).

    The signal has mean 0 and variance 1 over the training scenes. The ceiling is the share of a voxel's response
    variance that the signal makes: the R^2 of a perfect model.
    """

    areas: np.ndarray
    signal: np.ndarray
    response: np.ndarray
    ceiling: np.ndarray


def _signals(area: str, hemisphere: str, maps: np.ndarray, features: dict, draws: np.random.Generator) -> np.ndarray:
    kind, _, count = AREAS[area]
    if kind == "late":
        return late_signal(area, hemisphere, features, draws, count)
    _, fields = receptive_fields(area, hemisphere, draws, count)
    return early_signal(maps, fields, kind, draws)


def simulate(hemisphere: str, maps: np.ndarray, features: dict, training: int) -> Subject:
    """The voxels of `hemisphere` ("lh" or "rh") for scenes of which the first `training` are training scenes.

    `maps` are `early_maps` of all scenes, `features` their `late_features`. 40 voxels without an area respond to
    nothing but noise and have ceiling 0.
    """
    draws = np.random.default_rng([2023, _HEMISPHERES.index(hemisphere)])
    blocks = [_signals(area, hemisphere, maps, features, draws) for area in AREAS]
    areas = np.repeat([*AREAS, "Unknown"], [block.shape[1] for block in blocks] + [_UNKNOWN])
    signal = np.concatenate(blocks, axis=1)
    signal = (signal - signal[:training].mean(0)) / signal[:training].std(0)
    signal = np.concatenate([signal, np.zeros((len(signal), _UNKNOWN))], axis=1)
    ceiling = np.where(areas == "Unknown", 0.0, 0.3 + 0.5 * draws.random(len(areas)))
    noise = draws.standard_normal(signal.shape)
    response = np.sqrt(ceiling) * signal + np.sqrt(1 - ceiling) * noise
    return Subject(areas, signal.astype(np.float32), response.astype(np.float32), ceiling.astype(np.float32))


def _labels(areas: np.ndarray, family: str) -> np.ndarray:
    """Integer label of each voxel in one of the MAPPINGS, int64 (voxels,)."""
    names = MAPPINGS[family]
    if family == "streams":
        areas = [_STREAM.get(area[0], "Unknown") for area in areas]
    return np.array([names.index(area) if area in names else 0 for area in areas], np.int64)


def _write_masks(folder: Path, subjects: dict[str, Subject]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for family, names in MAPPINGS.items():
        np.save(folder / f"mapping_{family}.npy", dict(enumerate(names)), allow_pickle=True)
        for hemisphere, subject in subjects.items():
            np.save(folder / f"{hemisphere}.{family}_challenge_space.npy", _labels(subject.areas, family))


def _write_rows(folder: Path, kind: str, rows: slice, subjects: dict[str, Subject]) -> None:
    (folder / f"{kind}_split" / f"{kind}_fmri").mkdir(parents=True, exist_ok=True)
    for hemisphere, subject in subjects.items():
        np.save(folder / f"{kind}_split/{kind}_fmri/{hemisphere}_{kind}_fmri.npy", subject.response[rows])


def _render(
    folder: Path, training: int, test: int, threads: int, tick: Callable[[int, int], None]
) -> tuple[np.ndarray, dict]:
    """Write all pictures and their captions; their maps and features, training scenes first."""
    short = {"training": "train", "test": "test"}
    jobs = [("training", row) for row in range(training)] + [("test", row) for row in range(test)]
    for kind in short:
        (folder / f"{kind}_split" / f"{kind}_images").mkdir(parents=True, exist_ok=True)

    def draw(number: int) -> tuple[str, Scene, np.ndarray]:
        kind, row = jobs[number]
        made = scene(FIRST_SEED + number)
        name = f"{short[kind]}-{row + 1:04d}_nsd-{FIRST_SEED + number:05d}.png"
        Image.fromarray(made.image).save(folder / f"{kind}_split" / f"{kind}_images" / name, compress_level=3)
        return name, made, early_maps(made.image)

    maps, scenes, captions = [], [], {}
    with ThreadPoolExecutor(min(_MOST_THREADS, threads)) as pool:  # numpy and PIL release the GIL
        for number, (name, made, early) in enumerate(pool.map(draw, range(len(jobs)))):
            maps.append(early)
            scenes.append(made)
            captions[name] = made.caption
            tick(number + 1, len(jobs))
    write_captions(folder / "captions.csv", captions)
    return np.stack(maps), late_features(scenes)


def write_brain(
    folder: Path,
    training: int = TRAINING,
    test: int = TEST,
    threads: int = os.cpu_count() or 1,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the subject into `folder`: pictures, their captions, responses, region masks and noise ceilings.

    training_split/training_images/train-0001_nsd-01000.png …, training_split/training_fmri/{lh,rh}_training_fmri.npy
    float32 (scenes, voxels), the same for test (whose responses the challenge held back),
    roi_masks/{lh,rh}.*_challenge_space.npy, roi_masks/mapping_*.npy, and noise_ceiling/{lh,rh}_noise_ceiling.npy
    float32 (voxels,) in 0..1; captions.csv has a sentence for each picture. The number after nsd is the
    scene's seed. At most four `threads` draw, with the same result. `tick(done, total)` is called after each scene.
    """
    maps, features = _render(folder, training, test, threads, tick)
    subjects = {hemisphere: simulate(hemisphere, maps, features, training) for hemisphere in _HEMISPHERES}
    _write_masks(folder / "roi_masks", subjects)
    _write_rows(folder, "training", slice(0, training), subjects)
    _write_rows(folder, "test", slice(training, training + test), subjects)
    (folder / "noise_ceiling").mkdir(exist_ok=True)
    for hemisphere, subject in subjects.items():
        np.save(folder / "noise_ceiling" / f"{hemisphere}_noise_ceiling.npy", subject.ceiling)


def main() -> None:
    """Read the command line and write the subject."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write_brain(parser.parse_args().folder)


if __name__ == "__main__":
    main()
