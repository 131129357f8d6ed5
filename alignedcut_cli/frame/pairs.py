"""The images that have both features and responses, and their split into training, held-out and test images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from alignedcut_cli.brain import match_images
from alignedcut_cli.brain.matching import Named
from alignedcut_cli.brain.words import few
from alignedcut_cli.datasets.names import same_form
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.frame.output import Output
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.files import disk_errors

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ENOUGH", "FIT", "HELDOUT", "TEST", "Pairs", "choose_test_images", "pair_images", "split_images"]

FIT, HELDOUT, TEST = 0, 1, 2
FEWEST = {FIT: 8, HELDOUT: 2, TEST: 2}
ENOUGH = 10
"""Held-out images that model selection needs: where a tenth is fewer, this many are held out, but at most a fifth."""
_LAST = re.compile(r"last:(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Pairs:
    """The images that all feature sets and the responses share, in order of response rows.

    `rows` (B,) int64 are row indices of the responses, `places` (B,) int64 those of each feature set.
    """

    rows: np.ndarray
    places: tuple[np.ndarray, ...]
    names: tuple[str, ...]


def pair_images(responses: Named, sets: Sequence[FeatureSet], output: Output) -> Pairs:
    """Match all feature sets to the responses; a note counts and names what does not match.

    Raises DataError if nothing matches.
    """
    import numpy as np

    found = [match_images(responses, features.images) for features in sets]
    for features, matching in zip(sets, found, strict=True):
        if not len(matching.rows):
            raise DataError(
                "no-match",
                f"none of the {len(features.images)} images of features/{features.folder.name} has responses "
                f"(images such as {features.images[0]['path']}, responses to {few(responses.images, 2)})",
                "Extract features of the images that the responses are to",
            )
        for names, lack in ((matching.unmatched_images, "no responses"), (matching.unmatched_rows, "no features")):
            if names:
                output.note(f"features/{features.folder.name}: {len(names)} images have {lack}: {few(names, 3)}")
        if renamed := [f"{name} is {path}" for name, path in matching.renamed]:
            told = f"{len(renamed)} images are matched but for their extension: {few(renamed, 3)}"
            output.note(f"features/{features.folder.name}: {told}")
    shared = found[0].rows
    for matching in found[1:]:
        shared = np.intersect1d(shared, matching.rows)
    if not len(shared):
        raise DataError(
            "no-match", "no image has responses and features of all sets", "Extract all from the same images"
        )
    places = tuple(matching.places[np.searchsorted(matching.rows, shared)] for matching in found)
    return Pairs(shared, places, tuple(responses.images[row] for row in shared))


def split_images(asked: str, pairs: Pairs, given: np.ndarray, seed: int) -> tuple[str, np.ndarray]:
    """The rule that chose the test images (`auto` resolved), and the split of each image: int8 (B,), FIT, HELDOUT or TEST.

    auto: the data's own test images if there are any, else last:10%. A tenth of the others, drawn by `seed`, is
    held out of the fit; where that is less than 10 images, a fifth and at most 10. Raises UsageError, InputMissingError
    or DataError.
    """
    import numpy as np

    from alignedcut_cli.core.numerics import stream

    own = given[pairs.rows]
    if asked == "auto":
        asked = "given" if own.any() else "last:10%"
    is_test = choose_test_images("--test-split", asked, pairs.names, own)
    split = np.where(is_test, TEST, FIT).astype(np.int8)
    rest = np.flatnonzero(~is_test)
    draws = np.random.default_rng(stream(seed, "heldout"))
    split[draws.permutation(rest)[: heldout_count(len(rest))]] = HELDOUT
    for part, least in FEWEST.items():
        count = int((split == part).sum())
        if count < least:
            kind = ("to fit", "held out", "to test on")[part]
            raise DataError(
                "too-few-images",
                f"{len(split)} images with features and responses leave {count} {kind}, at least {least} are needed",
                "Extract more images, or choose another --test-split",
            )
    return asked, split


def heldout_count(images: int) -> int:
    """How many of the training images are held out of the fit."""
    return max(round(images / 10), min(ENOUGH, images // 5))


def choose_test_images(option: str, asked: str, names: Sequence[str], own: np.ndarray) -> np.ndarray:
    """Which images are test images, bool (B,): given (the data's `own`), even-odd, last:10%, or a file of image names.

    `option` is the option's name for messages. Raises UsageError, InputMissingError or DataError.
    """
    import numpy as np

    count = len(names)
    if asked == "given":
        return own
    if asked == "even-odd":
        return np.arange(count) % 2 == 1
    if match := _LAST.fullmatch(asked):
        share = float(match[1]) / 100
        if 0 < share < 1:
            return np.arange(count) >= count - max(1, round(share * count))
    elif not asked.startswith("last:"):
        return _listed(option, Path(asked), names)
    raise UsageError(
        "bad-split",
        f"{option} {asked!r} cannot be",
        "Give auto, given, even-odd, last:10%, or a file of image names",
    )


def _listed(option: str, path: Path, names: Sequence[str]) -> np.ndarray:
    """The images named in a text file, one per line, with or without folder and extension."""
    import numpy as np

    with disk_errors(path):
        if not path.is_file():
            raise InputMissingError(
                "split-missing",
                f"{option} {path}: there is no such file",
                "Give auto, given, even-odd, last:10%, or a file of image names",
            )
        try:
            text = same_form(path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError:
            raise DataError("bad-split", f"{option} {path} is no text file", "Give one image name a line") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    names = [same_form(name) for name in names]
    keys: dict[str, set[int]] = {}
    for number, name in enumerate(names):
        for key in {PurePosixPath(name).name, PurePosixPath(name).stem}:
            keys.setdefault(key, set()).add(number)
    keys |= {name: {number} for number, name in enumerate(names)}
    unknown = [line for line in lines if line not in keys]
    if unknown:
        raise DataError(
            "bad-split",
            f"{path} names {len(unknown)} images without responses and features: {few(unknown, 3)}",
            "Name images that have both",
        )
    several = [line for line in lines if len(keys[line]) > 1]
    if several:
        raise DataError("bad-split", f"{path}: several images are called {few(several, 3)}", "Name their folders, too")
    listed = np.zeros(len(names), bool)
    listed[[number for line in lines for number in keys[line]]] = True
    return listed
