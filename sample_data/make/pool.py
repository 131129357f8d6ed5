"""The scenes that the models are trained on, rendered once into a folder outside the package."""

from multiprocessing import Pool
from pathlib import Path

import numpy as np

from .scenes import SIZE, VOCABULARY, scene

__all__ = ["FIRST_SEED", "load_pool", "make_pool"]

FIRST_SEED = 1_000_000
"""Seeds from here on are training scenes; shipped, brain and probe scenes have smaller ones."""


def _render(job: tuple[int, bool, int]) -> tuple[np.ndarray, np.ndarray]:
    """Images and caption (uint8, 0 or 1 a word of VOCABULARY) of a seed: one large object, or one to three.

    One image (96, 96, 3), or so many encounters of its objects (n, 96, 96, 3), with the caption of the first.
    """
    seed, is_easy, encounters = job
    kind = {"objects": (1, 1), "radius": (0.28, 0.45)} if is_easy else {"objects": (1, 3)}
    made = [scene(seed, **kind, encounter=number) for number in range(encounters)] or [scene(seed, **kind)]
    images = np.stack([one.image for one in made]) if encounters else made[0].image
    return images, np.isin(VOCABULARY, made[0].caption).astype(np.uint8)


def make_pool(folder: Path, easy: int, hard: int, encounters: int = 0, workers: int = 2) -> None:
    """Write images.npy (easy + hard, …, 96, 96, 3) and captions.npy (easy + hard, words), easy scenes first."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(FIRST_SEED + number, number < easy, encounters) for number in range(easy + hard)]
    shape = (len(jobs), *([encounters] if encounters else []), SIZE, SIZE, 3)
    images = np.lib.format.open_memmap(folder / "images.part", "w+", np.uint8, shape)
    captions = np.zeros((len(jobs), len(VOCABULARY)), np.uint8)
    with Pool(workers) as pool:
        for number, (image, caption) in enumerate(pool.imap(_render, jobs, chunksize=64)):
            images[number], captions[number] = image, caption
    np.save(folder / "captions.npy", captions)
    images.flush()
    (folder / "images.part").rename(folder / "images.npy")


def load_pool(folder: Path, easy: int, hard: int, encounters: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, …, 96, 96, 3) and captions uint8 (n, words); made now if the folder does not hold that many.

    `encounters` of the same objects lie side by side, (n, encounters, 96, 96, 3); 0 means plain scenes.
    """
    if not (folder / "images.npy").exists() or len(np.load(folder / "captions.npy")) != easy + hard:
        make_pool(folder, easy, hard, encounters)
    return np.load(folder / "images.npy"), np.load(folder / "captions.npy")
