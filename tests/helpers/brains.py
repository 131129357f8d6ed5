"""Small subjects in the layout of Algonauts 2023, with arbitrary values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.conftest import photograph

LEFT, RIGHT, TRAINING, TEST = 5, 4, 6, 2
FAMILIES = {
    "prf-visualrois": {0: "Unknown", 1: "V1v", 2: "V1d", 3: "hV4"},
    "floc-bodies": {0: "Unknown", 1: "EBA", 2: "mTL-bodies"},
    "floc-faces": {0: "Unknown", 1: "OFA", 2: "FFA-1", 3: "FFA-2"},
    "floc-places": {0: "Unknown", 1: "OPA", 2: "PPA"},
    "floc-words": {0: "Unknown", 1: "OWFA", 2: "VWFA-1", 3: "VWFA-2"},
    "streams": {0: "Unknown", 1: "early", 2: "ventral"},
}
"""The released files' names, with fewer regions."""
LABELS = {
    "prf-visualrois": ([1, 1, 2, 0, 3], [2, 1, 0, 0]),
    "floc-bodies": ([0, 0, 0, 1, 0], [0, 0, 1, 0]),
    "floc-faces": ([0, 0, 0, 2, 0], [0, 0, 3, 1]),
    "floc-places": ([0] * 5, [0, 0, 0, 2]),
    "floc-words": ([0] * 5, [0] * 4),
    "streams": ([1, 1, 1, 0, 2], [1, 1, 0, 2]),
}


def values(kind: str, hemisphere: str) -> np.ndarray:
    """Responses, float32 (rows, vertices), the same in every test."""
    rows, columns = (TRAINING if kind == "training" else TEST), (LEFT if hemisphere == "lh" else RIGHT)
    seed = [len(kind), ord(hemisphere[0])]
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def fmri(folder: Path, hemisphere: str, kind: str = "training") -> Path:
    return folder / f"{kind}_split" / f"{kind}_fmri" / f"{hemisphere}_{kind}_fmri.npy"


def picture(folder: Path, row: int, kind: str = "training") -> Path:
    short = {"training": "train", "test": "test"}[kind]
    return folder / f"{kind}_split" / f"{kind}_images" / f"{short}-{row + 1:04d}_nsd-{13 * (row + 1):05d}.png"


def save(path: Path, array: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(array))
    return path


def save_mapping(path: Path, names: Mapping[int, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, dict(names), allow_pickle=True)  # type: ignore[arg-type]


def make_subject(folder: Path) -> Path:
    """A subject with 6 training and 2 test images, 5 left and 4 right vertices, ROIs and ceilings."""
    for kind, rows in (("training", TRAINING), ("test", TEST)):
        for hemisphere in ("lh", "rh"):
            save(fmri(folder, hemisphere, kind), values(kind, hemisphere))
        picture(folder, 0, kind).parent.mkdir(parents=True)
        for row in range(rows):
            photograph(row + 10 * rows, 12, 10).save(picture(folder, row, kind))
    for family, names in FAMILIES.items():
        save_mapping(folder / "roi_masks" / f"mapping_{family}.npy", names)
        for hemisphere, labels in zip(("lh", "rh"), LABELS[family], strict=True):
            save(folder / "roi_masks" / f"{hemisphere}.{family}_challenge_space.npy", labels)
    save(folder / "noise_ceiling/lh_noise_ceiling.npy", np.linspace(0.1, 0.5, LEFT, dtype=np.float32))
    save(folder / "noise_ceiling/rh_noise_ceiling.npy", np.linspace(0.6, 0.9, RIGHT, dtype=np.float32))
    return folder
