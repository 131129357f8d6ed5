"""The plan of a probe: an embedding, queries, and the labels or responses to predict from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alignedcut_cli.brain import Rdms, open_brain
from alignedcut_cli.commands.probe.asked import Asked
from alignedcut_cli.commands.probe.labels import Labels, read_labels
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.cases import Case, Fold, cases_of_responses, split_folds
from alignedcut_cli.frame.config import parse_alphas
from alignedcut_cli.frame.queries import Queries, find_layer, read_queries, require_fits, text_reader, unit
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.canonical import digest, tensor_digest
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.maps import Map, read_maps
from alignedcut_cli.store.project import check_name

__all__ = ["Plan", "make_plan"]

ALGORITHM = 2
USED = {"classify": ("--labels",), "brain": ("--brain", "--subject", "--roi", "--random", "--pool")}
ALPHAS = {"classify": "1e-3:1e3:7", "brain": "1e-1:1e5:7"}


@dataclass(frozen=True, eq=False)
class Plan:
    """The plan: unit embeddings E (n, D) of all images of a set, queries (q, D), and either labels or cases."""

    recipe: Recipe
    parent: Header
    layer: Map
    embedding: np.ndarray
    queries: Queries
    pool: Queries | None
    labels: Labels | None
    fold: Fold | None
    cases: tuple[Case, ...]

    def need(self) -> int:
        """Bytes of main memory: responses and their predictions, embeddings, and Gram matrices."""
        voxels = max((case.responses.shape[1] for case in self.cases if case.responses is not None), default=1)
        images, width = self.embedding.shape
        return 4 * images * (3 * voxels + 4 * width) + 8 * 4 * min(images, width) ** 2 + (64 << 20)


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a probe; brain data or labels, and queries, are read. Raises UsageError, DataError, InputMissingError."""
    _require_used(asked)
    project = frame.project
    name = project.parse(asked.source, "features")[1] if asked.source else project.only("features")
    given, parent = project.input("features", "features", name)
    there = read_maps(frame.features(name))
    layer = find_layer(name, there.maps, asked.layer)
    reader, weights = None, None
    if asked.model:
        reader, weights = text_reader(asked.model, asked.weights, asked.seed, "cpu", frame.output.note)
    queries = read_queries("--queries", asked.queries, reader)
    pool = read_queries("--pool", asked.pool, reader) if asked.pool else None
    embedding = unit(np.array(there.matrix(layer.number), "f4"))
    for option, one in (("--queries", queries), ("--pool", pool)):
        if one is not None:
            require_fits(option, one, name, layer, "--layer")
    if pool is not None and len(pool.texts) <= len(queries.texts):
        told = f"--pool {asked.pool} has {len(pool.texts)} queries, --queries {len(queries.texts)}"
        raise UsageError("pool-small", told, "Give a pool that is larger")
    labels, fold, cases, external = None, None, (), {}
    if asked.what == "classify":
        assert asked.labels is not None
        labels = read_labels(asked.labels, there.images)
        (fold,) = split_folds(asked.split, labels.images, np.zeros(len(labels.images), bool), asked.seed)
        _require_classes(labels, fold)
        external["labels"] = digest([list(labels.images), labels.numbers.tolist(), list(labels.classes)])
        external["split"] = tensor_digest({"test": fold.test})
    else:
        assert asked.brain is not None
        brain = open_brain(asked.brain, asked.subject)
        if isinstance(brain, Rdms):
            raise UsageError(
                "needs-responses", f"{asked.brain} holds RDMs, and a probe needs responses", "Give responses"
            )
        rois = [part.strip() for part in (asked.roi or "").split(",") if part.strip()]
        cases = tuple(cases_of_responses(brain, [there.features], asked.split, rois, asked.seed, frame.output))
        external["brain"] = digest([[one.name, one.responses.identity] for one in brain])
        external["split"] = digest([case.key for case in cases])
    external["queries"] = queries.identity
    if pool is not None:
        external["pool"] = pool.identity
    if weights is not None:
        external["weights"] = weights
    params: dict[str, Any] = {
        "what": asked.what,
        "layer": layer.name,
        "model": asked.model,
        "alphas": parse_alphas(asked.alphas or ALPHAS[asked.what]),
        "split": asked.split if asked.split in ("even-odd", "given") else "file",
        "subject": [case.subject for case in cases],
        "roi": asked.roi,
        "random": asked.random if asked.what == "brain" else 0,
        "bootstrap": asked.bootstrap,
        "seed": asked.seed,
    }
    recipe = Recipe("probe", check_name(asked.name or f"{name}-{asked.what}"), ALGORITHM, params, (given,), external)
    return Plan(recipe, parent, layer, embedding, queries, pool, labels, fold, cases)


def _require_used(asked: Asked) -> None:
    """Raise UsageError for options of the other kind of probe, and for missing ones of its own."""
    if asked.what not in USED:
        raise UsageError("bad-choice", f"{asked.what!r} is no probe", "Give classify or brain")
    for what, names in USED.items():
        given = [option for option in names if option in asked.explicit]
        if what != asked.what and given:
            raise UsageError("option-unused", f"probe {asked.what} does not use {', '.join(given)}", "Leave it out")
    if asked.split.startswith("kfold"):
        raise UsageError(
            "bad-split", f"--split {asked.split} is not for probes", "Give even-odd, given or a file of names"
        )
    if asked.what == "classify" and asked.labels is None:
        raise UsageError("labels-missing", "probe classify needs --labels", "Give a csv of image and label, or folders")
    if asked.what == "brain" and asked.brain is None:
        raise UsageError("brain-missing", "probe brain needs --brain", "Give a subject's folder, or a table")
    if asked.weights is not None and asked.model is None:
        raise UsageError("option-unused", "--weights are those of --model, which is not given", "Give both")
    if asked.pool is not None and not asked.random:
        raise UsageError("option-unused", "--pool is not used with --random 0", "Leave it out")


def _require_classes(labels: Labels, fold: Fold) -> None:
    """Raise DataError unless every class has a training and a test image."""
    for part, what in ((fold.train, "to fit"), (fold.test, "to test on")):
        lacking = set(range(len(labels.classes))) - set(labels.numbers[part].tolist())
        if lacking:
            told = f"class {labels.classes[min(lacking)]!r} has no image {what}"
            raise DataError("labels-split", told, "Choose another --split, or give more images")
