"""The prediction problems: for each subject, the images with features and responses, their folds, and regions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alignedcut_cli.brain import Rdms, Responses, Subject
from alignedcut_cli.core.resample.draws import dealt_folds
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.pairs import choose_test_images, pair_images
from alignedcut_cli.store.canonical import digest, tensor_digest
from alignedcut_cli.store.features import FeatureSet

__all__ = [
    "ALL",
    "FEWEST_FIT",
    "FEWEST_TEST",
    "FEWEST_VOXELS",
    "Case",
    "Fold",
    "cases_of_rdms",
    "cases_of_responses",
    "split_folds",
]

ALL = "all"
FEWEST_FIT, FEWEST_TEST, FEWEST_VOXELS = 8, 4, 11
"""The least number of images to fit and to test on, and of voxels for a region's RDM or Gram matrix."""
_KFOLD = re.compile(r"kfold:(\d+)")


@dataclass(frozen=True)
class Fold:
    """Training and test images, as ascending int64 indices into those of a case."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Case:
    """One subject: B images with features and responses.

    `places` (B,) are row indices into each feature set. Either responses (B, N), with masks (R, N) bool of the regions and,
    where known, ceilings (N,) and single trials (B, r, N); or RDMs (R, B, B).
    """

    subject: str
    images: tuple[str, ...]
    places: tuple[np.ndarray, ...]
    folds: tuple[Fold, ...]
    regions: tuple[str, ...]
    responses: np.ndarray | None = None
    masks: np.ndarray | None = None
    ceiling: np.ndarray | None = None
    trials: np.ndarray | None = None
    rdms: np.ndarray | None = None
    voxels: np.ndarray | None = None

    @cached_property
    def key(self) -> str:
        """Equal for cases with the same images in the same folds, which share fits and bootstrap draws."""
        places = {str(number): one for number, one in enumerate(self.places)}
        folds = {f"{name}.{k}": getattr(one, name) for k, one in enumerate(self.folds) for name in ("train", "test")}
        return digest([list(self.images), tensor_digest({**places, **folds})])

    def sizes(self) -> list[int]:
        """Voxels of each region; 0 for RDMs, which do not say."""
        return [0] * len(self.regions) if self.masks is None else self.masks.sum(1).tolist()


def cases_of_responses(
    subjects: Sequence[Subject], sets: Sequence[FeatureSet], asked: str, rois: Sequence[str], seed: int, output: Output
) -> list[Case]:
    """A case per subject. `rois` are the areas asked for (none: all voxels, and every area of the data).

    Raises UsageError or DataError if no subject has an area, or images are too few.
    """
    for subject in subjects:
        for note in subject.responses.notes:
            output.note(note if len(subjects) == 1 else f"subject {subject.name}: {note}")
    _require_rois(rois, {name for one in subjects for name in one.responses.rois})
    found = []
    for subject in subjects:
        own = subject.responses
        pairs = pair_images(own, sets, output)
        masks = _masks(own, rois)
        if not masks:
            output.note(f"subject {subject.name} has none of {', '.join(rois)}")
            continue
        folds = split_folds(asked, pairs.names, own.given[pairs.rows], seed)
        whole = len(pairs.rows) == len(own.images)
        found.append(
            Case(
                subject.name,
                pairs.names,
                pairs.places,
                folds,
                tuple(masks),
                own.values if whole else own.values[pairs.rows],
                np.stack(list(masks.values())),
                own.ceiling,
                None if own.trials is None else own.trials[pairs.rows],
                voxels=own.voxels,
            )
        )
    return found


def _require_rois(rois: Sequence[str], there: set[str]) -> None:
    unknown = [roi for roi in rois if roi != ALL and roi not in there]
    if unknown:
        remedy = f"It has: {', '.join(sorted(there))}" if there else "It has no areas: leave --roi out"
        raise UsageError("unknown-roi", f"the brain data have no area {', '.join(map(repr, unknown))}", remedy)


def _masks(own: Responses, rois: Sequence[str]) -> dict[str, np.ndarray]:
    masks = {ALL: np.ones(own.values.shape[1], bool), **own.rois}
    return {name: masks[name] for name in (rois or masks) if name in masks}


def cases_of_rdms(
    rdms: Rdms, sets: Sequence[FeatureSet], asked: str, rois: Sequence[str], seed: int, output: Output
) -> list[Case]:
    """A case per subject with RDMs. Where they do not name their images, these are the feature sets' images in order."""
    _require_rois([roi for roi in rois if roi != ALL], set(rdms.regions))
    names, rows, places = _rdm_places(rdms, sets, output)
    folds = split_folds(asked, names, np.zeros(len(names), bool), seed)
    subjects = dict.fromkeys(name for called, _ in rdms.regions.values() for name in called)
    wanted = {name: one for name, one in rdms.regions.items() if not rois or ALL in rois or name in rois}
    found = []
    for subject in subjects:
        own = {
            region: matrices[called.index(subject)][np.ix_(rows, rows)]
            for region, (called, matrices) in wanted.items()
            if subject in called
        }
        if own:
            found.append(Case(subject, names, places, folds, tuple(own), rdms=np.stack(list(own.values()))))
    return found


def _rdm_places(
    rdms: Rdms, sets: Sequence[FeatureSet], output: Output
) -> tuple[tuple[str, ...], np.ndarray, tuple[np.ndarray, ...]]:
    """The images' names, their rows in the RDMs, and in each feature set."""
    if rdms.images is None:
        for features in sets:
            if len(features.images) != rdms.size:
                raise DataError(
                    "image-count",
                    f"the RDMs do not name their {rdms.size} images, and features/{features.folder.name} has "
                    f"{len(features.images)}",
                    "Extract features of these images alone, or name them in the file as `images`",
                )
        names = tuple(image["path"] for image in sets[0].images)
        for features in sets[1:]:
            if tuple(image["path"] for image in features.images) != names:
                raise DataError(
                    "other-images", f"features/{features.folder.name} is of other images", "Extract from the same ones"
                )
        output.note(f"the RDMs do not name their images, which are taken in order: {names[0]} … {names[-1]}")
        every = np.arange(rdms.size)
        return names, every, tuple(every for _ in sets)
    pairs = pair_images(_Named(rdms.images), sets, output)
    return pairs.names, pairs.rows, pairs.places


@dataclass(frozen=True)
class _Named:
    """Names of images without files."""

    images: tuple[str, ...]

    @property
    def files(self) -> tuple[None, ...]:
        return (None,) * len(self.images)


def split_folds(asked: str, names: Sequence[str], own: np.ndarray, seed: int) -> tuple[Fold, ...]:
    """The folds of `--split`: one of training and test images, or K in which each image is tested once.

    kfold assigns the images to K folds at random by `seed`. Raises UsageError or DataError.
    """
    count = len(names)
    if match := _KFOLD.fullmatch(asked):
        parts = int(match[1])
        if not 2 <= parts <= count:
            raise UsageError(
                "bad-split", f"--split {asked} of {count} images cannot be", "Give kfold:2 or more, below that"
            )
        dealt = dealt_folds(count, parts, seed)
        tests = [dealt == part for part in range(parts)]
    elif asked.startswith("last:") or asked == "auto" or asked.startswith("kfold"):
        raise UsageError(
            "bad-split", f"--split {asked!r} cannot be", "Give even-odd, kfold:5, given, or a file of names"
        )
    else:
        tests = [choose_test_images("--split", asked, names, own)]
    folds = tuple(Fold(np.flatnonzero(~test), np.flatnonzero(test)) for test in tests)
    for fold in folds:
        if len(fold.train) < FEWEST_FIT or len(fold.test) < FEWEST_TEST:
            raise DataError(
                "too-few-images",
                f"{count} images with features and responses leave {len(fold.train)} to fit and {len(fold.test)} to test "
                f"on, at least {FEWEST_FIT} and {FEWEST_TEST} are needed",
                "Extract more images, or choose another --split",
            )
    return folds
