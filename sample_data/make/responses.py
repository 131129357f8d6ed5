"""What each area of the simulated brain responds to, before noise: pure functions of scenes.

Early areas see the picture only (oriented energy and contrast in a receptive field), hV4 colour and curvature, the
late areas the scene's own truth: which categories are present and how large, which background, which layout.
"""

import numpy as np

from .scenes import BACKGROUNDS, CATEGORIES, SIZE, Scene

__all__ = [
    "AREAS",
    "FIELDS",
    "TUNING",
    "early_maps",
    "early_signal",
    "late_features",
    "late_signal",
    "receptive_fields",
]

FIELDS = 24
"""Rows and columns of the maps that receptive fields pool over: 4 x 4 pixels each."""
_ORIENTATIONS, _WAVELENGTHS = 4, (5.0, 10.0)

AREAS = {
    "V1v": ("early", 0.045, 110), "V1d": ("early", 0.045, 110), "V2v": ("early", 0.07, 90),
    "V2d": ("early", 0.07, 90), "V3v": ("early", 0.1, 70), "V3d": ("early", 0.1, 70), "hV4": ("hV4", 0.14, 80),
    "EBA": ("late", 0.0, 70), "FBA-1": ("late", 0.0, 30), "FBA-2": ("late", 0.0, 30), "OFA": ("late", 0.0, 30),
    "FFA-1": ("late", 0.0, 35), "FFA-2": ("late", 0.0, 35), "OPA": ("late", 0.0, 40), "PPA": ("late", 0.0, 40),
    "OWFA": ("late", 0.0, 30), "VWFA-1": ("late", 0.0, 30), "VWFA-2": ("late", 0.0, 30),
}  # fmt: skip
"""Area to (kind, receptive field's standard deviation as a share of the picture, voxels a hemisphere)."""

TUNING = {
    "EBA": {"body": 1.0, "animal": 0.45, "face": 0.2, "tool": 0.2},
    "FBA": {"body": 1.0, "animal": 0.4, "face": 0.3},
    "OFA": {"face": 1.0, "animal": 0.3, "body": 0.15},
    "FFA": {"face": 1.0, "animal": 0.35, "body": 0.25},
    "OWFA": {"word": 1.0, "tool": 0.2, "building": 0.15},
    "VWFA": {"word": 1.0, "face": 0.15, "tool": 0.2},
    "OPA": {"building": 0.5, "vehicle": 0.25},
    "PPA": {"building": 0.7, "plant": 0.2},
}
_OPEN = tuple(float(kind in ("sky", "grass", "water", "sand", "road")) for kind in BACKGROUNDS)


def _gabors() -> np.ndarray:
    """Transfer functions of one-sided band-pass filters, complex energy detectors, (orientations * scales, H, W)."""
    y, x = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    filters = []
    for wavelength in _WAVELENGTHS:
        for turn in range(_ORIENTATIONS):
            angle, centre = np.pi * turn / _ORIENTATIONS, 1.0 / wavelength
            square = (x - centre * np.cos(angle)) ** 2 + (y - centre * np.sin(angle)) ** 2
            filters.append(np.exp(-square / (2 * (0.4 * centre) ** 2)))
    return np.stack(filters)


def _pool(maps: np.ndarray) -> np.ndarray:
    """Means over blocks: (channels, H, W) to (channels, FIELDS * FIELDS)."""
    block = SIZE // FIELDS
    rows = sum(maps[:, first::block] for first in range(block))
    return sum(rows[:, :, first::block] for first in range(block)).reshape(len(maps), -1) / block**2


def early_maps(image: np.ndarray) -> np.ndarray:
    """Maps (14, FIELDS * FIELDS) float32 of an image uint8 (H, W, 3).

    Eight oriented energies (two scales of four orientations), contrast, four colour channels (red, green, blue and
    yellow excess) and curvature (energy at two orientations at once).
    """
    rgb = image.astype(np.float64) / 255
    light = rgb.mean(2)
    energy = np.abs(np.fft.ifft2(np.fft.fft2(light - light.mean()) * _FILTERS))
    coarse = energy[_ORIENTATIONS:]
    curved = np.minimum(coarse, np.roll(coarse, 1, axis=0)).sum(0, keepdims=True)
    red_green, blue_yellow = rgb[..., 0] - rgb[..., 1], rgb[..., 2] - rgb[..., :2].mean(2)
    colour = np.maximum(np.stack([red_green, -red_green, blue_yellow, -blue_yellow]), 0)
    pooled = _pool(np.concatenate([energy, np.square(light - light.mean())[None], colour, curved]))
    return np.sqrt(pooled).astype(np.float32)


_FILTERS = _gabors()


def receptive_fields(
    area: str, hemisphere: str, draws: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (count, 2) as x, y in -1..1 with y upwards, and Gaussian weights (FIELDS * FIELDS, count) summing to 1.

    The left hemisphere sees the right half of the field and the other way round; ventral areas (…v) see the upper
    half, dorsal ones (…d) the lower half, hV4 both.
    """
    eccentricity = 0.08 + 0.82 * draws.random(count)
    span = {"v": (0.0, 0.5), "d": (-0.5, 0.0)}.get(area[-1], (-0.5, 0.5))
    angle = np.pi * (span[0] + (span[1] - span[0]) * draws.random(count))
    side = 1.0 if hemisphere == "lh" else -1.0
    centres = np.stack([side * eccentricity * np.cos(angle), eccentricity * np.sin(angle)], axis=1)
    line = (np.arange(FIELDS) + 0.5) / FIELDS * 2 - 1
    width = 2 * AREAS[area][1] * (0.6 + 0.8 * eccentricity)
    across = np.exp(-((line[:, None] - centres[:, 0]) ** 2) / (2 * width**2))  # (columns, count)
    down = np.exp(-((line[:, None] + centres[:, 1]) ** 2) / (2 * width**2))  # (rows, count)
    weights = (down[:, None] * across[None]).reshape(-1, count)
    return centres, weights / weights.sum(0)


def early_signal(maps: np.ndarray, fields: np.ndarray, kind: str, draws: np.random.Generator) -> np.ndarray:
    """Signals (n, count) of voxels with these receptive fields from maps (n, 14, FIELDS * FIELDS).

    Each voxel prefers one orientation (V1 to V3) or one colour and curvature (hV4), with a random rest.
    """
    count = fields.shape[1]
    weights = 0.15 * draws.random((14, count))
    preferred, scale = draws.integers(0, 4, count), draws.integers(0, 2, count)
    if kind == "early":
        weights[9:] = 0.0
        weights[preferred + 4 * scale, np.arange(count)] += 1.0
        weights[8] += 0.4
    else:
        weights[:9] *= 0.3
        weights[9 + preferred, np.arange(count)] += 1.0
        weights[13] += 0.5 + draws.random(count)
    spread = maps.std((0, 2), keepdims=True) + 1e-6
    pooled = (maps / spread) @ fields.astype(np.float32)  # (n, 14, count)
    return np.einsum("nck,ck->nk", pooled, weights.astype(np.float32))


def late_features(scenes: list[Scene]) -> dict[str, np.ndarray]:
    """What is in each scene: presence, size and half-field sizes (left, right) of categories, background, layout."""
    areas = np.zeros((len(scenes), 2, len(CATEGORIES)))
    for number, one in enumerate(scenes):
        for half, part in enumerate((one.category[:, : SIZE // 2], one.category[:, SIZE // 2 :])):
            areas[number, half] = np.bincount(part.ravel(), minlength=len(CATEGORIES) + 1)[1:] / SIZE**2
    kinds = np.array([one.background_kind for one in scenes])
    layout = [[one.horizon, _OPEN[one.background_kind], len(one.objects) / 3] for one in scenes]
    return {
        "presence": (areas.sum(1) > 0).astype(np.float64),
        "size": np.sqrt(areas.sum(1)),
        "left": np.sqrt(areas[:, 0]),
        "right": np.sqrt(areas[:, 1]),
        "background": np.eye(len(BACKGROUNDS))[kinds],
        "layout": np.array(layout),
    }


def late_signal(
    area: str, hemisphere: str, features: dict[str, np.ndarray], draws: np.random.Generator, count: int
) -> np.ndarray:
    """Signals (n, count): a mixture, random voxel by voxel around the area's own tuning, of presence and size.

    The half of the field across from the hemisphere weighs more. OPA and PPA add background kind and layout.
    """
    family = area.split("-")[0]
    profile = np.array([TUNING[family].get(name, 0.04) for name in CATEGORIES])[:, None]
    weights = profile * np.exp(0.3 * draws.standard_normal((len(CATEGORIES), count)))
    share = draws.random((3, count))
    across = features["right" if hemisphere == "lh" else "left"]
    signal = (0.3 + 0.7 * share[0]) * (features["presence"] @ weights)
    signal += (0.5 + share[1]) * 2.5 * (features["size"] @ weights) + 1.5 * share[2] * (across @ weights)
    if family in ("OPA", "PPA"):
        shared = np.random.default_rng(len(family) + ord(family[0])).random((len(BACKGROUNDS), 1))
        kinds = 1.6 * shared + 0.8 * draws.random((len(BACKGROUNDS), count))
        layout = np.array([[1.5], [0.8], [-0.4]]) * (0.5 + draws.random((3, count)))
        signal += features["background"] @ kinds + features["layout"] @ layout
    return signal
