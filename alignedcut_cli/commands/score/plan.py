"""The plan of a scoring: layers, subjects and regions, measures, every `auto` resolved, and the memory needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alignedcut_cli.brain import Rdms, open_brain
from alignedcut_cli.commands.score.asked import Asked
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.cases import FEWEST_VOXELS, Case, cases_of_rdms, cases_of_responses
from alignedcut_cli.frame.config import parse_alphas, parse_layers
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.canonical import digest
from alignedcut_cli.store.header import Header, Input, Recipe
from alignedcut_cli.store.maps import Map, MapSet, read_maps
from alignedcut_cli.store.project import check_name

__all__ = ["FITTED", "METRICS", "Layer", "Line", "Plan", "make_plan"]

ALGORITHM = 2
METRICS = ("crsa", "ereg", "ersa", "cka")
FITTED = ("ereg", "ersa")
LONGEST_NAME = 120
BATCH_VOXELS = 1024


@dataclass(frozen=True)
class Layer:
    """One layer of one feature set, by the set's index."""

    source: int
    map: Map


@dataclass(frozen=True)
class Line:
    """One measure of one region of one case, by their indices."""

    metric: str
    case: int
    region: int


@dataclass(frozen=True, eq=False)
class Plan:
    """The scores to compute: every layer on every line."""

    recipe: Recipe
    parents: tuple[Header, ...]
    sets: tuple[MapSet, ...]
    layers: tuple[Layer, ...]
    cases: tuple[Case, ...]
    lines: tuple[Line, ...]
    models: tuple[str, ...]
    bands: bool = False

    @property
    def folds(self) -> int:
        """The number of folds of every case."""
        return len(self.cases[0].folds)

    def region(self, line: Line) -> str:
        return self.cases[line.case].regions[line.region]

    def size(self, line: Line) -> int:
        """Voxels of a line's region."""
        return self.cases[line.case].sizes()[line.region]

    def need(self) -> int:
        """The most bytes of a layer: Gram matrices and their factors, two copies of X, responses and predictions."""
        draws = self.recipe.params["bootstrap"]
        kept = len(self.layers) * len(self.lines) * 4 * draws * (self.folds + 1)
        responses = sum(case.responses.nbytes for case in self.cases if case.responses is not None)
        return max(map(self._need_of, self.cases)) + kept + responses

    def read_bytes(self) -> int:
        """Bytes that the tasks together read from disk: each layer's products and sums, and its rows for regressions."""
        fitted = any(line.metric in FITTED for line in self.lines)
        found = 0
        for layer in self.layers:
            features, one = self.sets[layer.source].features, layer.map
            images = len(features.images)
            if f"gram.{one.number:03d}" in features.header.raw["tensors"]:
                found += 8 * images * (images + 1) + (4 * images * self._width(one) if fitted else 0)
            else:
                found += 4 * images * one.units
        return found

    def _need_of(self, case: Case) -> int:
        """Bytes of a layer for one case."""
        params, images = self.recipe.params, len(case.images)
        voxels = 0 if case.responses is None else case.responses.shape[1]
        train, test = (max(len(getattr(fold, part)) for fold in case.folds) for part in ("train", "test"))
        widths = [self._width(layer.map) for layer in self.layers] if voxels else [0]
        solved = max(train if not width else min(train, width) for width in widths) if voxels else 0
        fit = 8 * 4 * solved**2 + 8 * images * max(widths)
        draws = 8 * (params["bootstrap"] + params["permutations"]) * test
        predictions = 2 * 4 * images * voxels + 4 * 8 * params["bootstrap"] * BATCH_VOXELS
        return 8 * 10 * images**2 + fit + draws + predictions

    def _width(self, one: Map) -> int:
        """The columns of X in regressions on a map, 0 where they use its Gram matrix."""
        units = self.recipe.params["units"]
        if not one.projected or units == "raw":
            return one.units
        return one.projected if units == "projected" else 0


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a scoring; brain data are read. Raises UsageError, DataError or InputMissingError."""
    names, given, sets = _sources(frame, asked)
    layers = [Layer(number, one) for number, there in enumerate(sets) for one in _chosen(there, asked.layers)]
    _require_raw(sets, layers, asked.units)
    alphas = parse_alphas(asked.alphas)
    rois = [part.strip() for part in (asked.roi or "").split(",") if part.strip()]
    cases, identity = _cases(frame, asked, sets, rois)
    metrics = _metrics(asked, are_rdms=any(case.rdms is not None for case in cases))
    lines = _lines(frame, metrics, cases)
    if asked.bands and (len(sets) < 2 or "ereg" not in metrics):
        raise UsageError("bands-alone", "--bands needs two feature sets or more, and the metric ereg", "Leave it out")
    params = {
        **_params(asked),
        "metrics": list(metrics),
        "roi": rois or None,
        "subject": [case.subject for case in cases],
        "layers": [[layer.map.number for layer in layers if layer.source == number] for number in range(len(sets))],
        "alphas": alphas,
    }
    recipe = Recipe(
        "score",
        check_name(asked.name or _default_name(names)),
        ALGORITHM,
        params,
        tuple(one for one, _ in given),
        {"brain": identity, "split": digest([case.key for case in cases])},
    )
    return Plan(
        recipe,
        tuple(header for _, header in given),
        sets,
        tuple(layers),
        tuple(cases),
        tuple(lines),
        _model_names(names, sets),
        asked.bands,
    )


def _sources(frame: Frame, asked: Asked) -> tuple[list[str], list[tuple[Input, Header]], tuple[MapSet, ...]]:
    """The feature sets asked for: their names, their inputs of the recipe, and their maps."""
    project = frame.project
    names = [project.parse(text, "features")[1] for text in asked.source] or [project.only("features")]
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise UsageError("input-twice", f"--from names {twice} twice", "Give each feature set once")
    given = [project.input(f"features.{number}", "features", one) for number, one in enumerate(names)]
    return names, given, tuple(read_maps(frame.features(name)) for name in names)


def _cases(frame: Frame, asked: Asked, sets: Sequence[MapSet], rois: Sequence[str]) -> tuple[list[Case], str]:
    """The subjects to be predicted, and the identity of their data."""
    brain = open_brain(asked.brain, asked.subject, asked.min_snr)
    features = [there.features for there in sets]
    if isinstance(brain, Rdms):
        return cases_of_rdms(brain, features, asked.split, rois, asked.seed, frame.output), brain.identity
    cases = cases_of_responses(brain, features, asked.split, rois, asked.seed, frame.output)
    return cases, digest([[one.name, one.responses.identity] for one in brain])


def _params(asked: Asked) -> dict[str, Any]:
    """The options that enter the recipe unchanged."""
    is_named = asked.split in ("even-odd", "given") or asked.split.startswith("kfold")
    taken = ("min_snr", "units", "penalty", "ddof", "rdm", "compare", "best_layer", "bands", "bootstrap")
    return {
        "split": asked.split if is_named else "file",
        **{name: getattr(asked, name) for name in (*taken, "permutations", "per_voxel", "seed")},
    }


def _require_raw(sets: Sequence[MapSet], layers: Sequence[Layer], units: str) -> None:
    """Raise DataError if raw maps are asked for and were not stored, by the headers."""
    for layer in layers if units == "raw" else ():
        features, number = sets[layer.source].features, layer.map.number
        if layer.map.projected and f"raw.{number:03d}" not in features.header.raw["tensors"]:
            raise DataError(
                "raw-missing",
                f"features/{features.folder.name} holds {layer.map.name} projected alone",
                "Extract again with --keep raw, or leave --units out",
            )


def _default_name(names: Sequence[str]) -> str:
    joined = "+".join(names)
    if len(joined) <= LONGEST_NAME:
        return joined
    return f"{len(names)}-sets-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"


def _model_names(names: Sequence[str], sets: Sequence[MapSet]) -> tuple[str, ...]:
    """The display name of each feature set: its model, or its own name if two are of one model."""
    models = [there.maps[0].model for there in sets]
    return tuple(name if models.count(model) > 1 else model for name, model in zip(names, models, strict=True))


def _chosen(there: MapSet, layers: str) -> list[Map]:
    """The maps selected by `--layers`, by number; for ordinary feature sets, by layer."""
    numbers = {slot["layer"]: place for place, slot in enumerate(there.features.slots)}
    wanted = list(numbers) if layers == "all" else parse_layers(layers, max(numbers) + 1)
    lacking = [layer for layer in wanted if layer not in numbers]
    if lacking:
        name = there.features.folder.name
        raise UsageError("bad-layers", f"{name} has no layer {lacking[0]}", f"It has {len(numbers)} layers")
    return [there.maps[numbers[layer]] for layer in wanted]


def _metrics(asked: Asked, are_rdms: bool) -> tuple[str, ...]:
    """The measures asked for, in the order of METRICS."""
    default = ("crsa",) if are_rdms else METRICS
    wanted = [part.strip() for part in asked.metric.split(",")] if asked.metric else list(default)
    unknown = [one for one in wanted if one not in METRICS]
    if unknown or not wanted:
        raise UsageError("bad-choice", f"--metric {asked.metric!r} cannot be", f"Give some of: {', '.join(METRICS)}")
    if are_rdms and set(wanted) != {"crsa"}:
        raise UsageError("needs-responses", f"--metric {asked.metric}: RDMs allow crsa alone", "Give --metric crsa")
    return tuple(one for one in METRICS if one in wanted)


def _lines(frame: Frame, metrics: Sequence[str], cases: Sequence[Case]) -> list[Line]:
    """Every measure of every region, except regions that are too small, which a note counts and names."""
    if not cases:
        raise DataError("roi-empty", "no subject has any of the areas asked for", "Choose other areas")
    small = {
        f"{case.regions[region]} of subject {case.subject}"
        for case in cases
        for region, size in enumerate(case.sizes())
        if case.rdms is None and size < FEWEST_VOXELS
    }
    if small and set(metrics) - {"ereg"}:
        told = ", ".join(sorted(small)[:3]) + (" ..." if len(small) > 3 else "")
        frame.output.note(
            f"{len(small)} regions have fewer than {FEWEST_VOXELS} voxels and are left out of all but ereg: {told}"
        )
    found = [
        Line(metric, number, region)
        for metric in metrics
        for number, case in enumerate(cases)
        for region, size in enumerate(case.sizes())
        if metric == "ereg" or case.rdms is not None or size >= FEWEST_VOXELS
    ]
    if not found:
        raise DataError("roi-small", f"no region has {FEWEST_VOXELS} voxels", "Give --metric ereg, or larger areas")
    return found
