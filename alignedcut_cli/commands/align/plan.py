"""The plan of an alignment: slots, images, settings with every `auto` resolved, and the memory needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.brain import Responses, open_responses
from alignedcut_cli.commands.align.asked import Asked
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.pairs import FIT, Pairs, pair_images, split_images
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.slots import Slot, find_slots
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np

    from alignedcut_cli.core.align.train import Settings

__all__ = ["ALGORITHM", "Plan", "ablated_values", "make_plan", "require_nodes", "require_weight", "slot_key"]

ALGORITHM = 4
LARGEST_WEIGHT = 1e6


@dataclass(frozen=True)
class Plan:
    """The plan: slots, responses (on the CPU), and the split of the images."""

    recipe: Recipe
    parents: tuple[Header, ...]
    slots: tuple[Slot, ...]
    set_of: tuple[int, ...]
    responses: Responses
    pairs: Pairs
    split: np.ndarray
    settings: Settings

    @property
    def fitted_images(self) -> int:
        """The images that are fitted to."""
        return int((self.split == FIT).sum())

    @property
    def steps(self) -> int:
        """The steps of all epochs."""
        return self.settings.epochs * -(-self.fitted_images // self.settings.batch)

    @property
    def most_channels(self) -> int:
        """An upper bound on the number of aligned channels."""
        return self.settings.dim or max(slot.about["width"] for slot in self.slots)

    def read_bytes(self) -> int:
        """Bytes that the tasks together read from disk at the least: pooled features for the spectra, the penalties and
        the fit of each fold and of all."""
        pooled = sum(len(slot.source.images) * slot.about["width"] * self._pooled_width(slot) for slot in self.slots)
        return pooled * (1 + (self.recipe.params.get("folds") or 0)) * (3 if self.settings.init == "ridge" else 1)

    @staticmethod
    def _pooled_width(slot: Slot) -> int:
        """Bytes of a number of a slot's pooled features."""
        return int(slot.source.header.raw["tensors"][slot.pooled]["dtype"][2:])

    def need(self) -> int:
        """Peak memory of the fit in bytes: two copies of features and responses, Gram matrices, weights and moments.

        With --agree also tokens, each slot's normal equations, and five blocks of conjugate gradients.
        """
        from alignedcut_cli.core.align.train import PLACES

        images, voxels = len(self.pairs.rows), self.responses.values.shape[1]
        channels = sum(slot.about["width"] for slot in self.slots)
        weights = self.most_channels * (channels + voxels)
        start = 2 * images * channels + 3 * images * voxels + 5 * min(images, max(channels, 1)) ** 2
        descent = images * channels + 2 * images * voxels + 6 * weights
        tokens = min(PLACES, images * min(map(_kept_tokens, self.slots))) if self.settings.weights.agree else 0
        squares = 2 * sum(slot.about["width"] ** 2 for slot in self.slots)
        agreement = (images + tokens) * channels + 2 * images * voxels + squares + 5 * weights if tokens else 0
        return 4 * max(start, agreement, descent)


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of an alignment; the responses are read. Raises UsageError, DataError or InputMissingError."""
    from alignedcut_cli.core.align.loss import Weights
    from alignedcut_cli.core.align.train import Settings

    for option, weight in (
        ("--eigen", asked.eigen),
        ("--zero", asked.zero),
        ("--cov", asked.cov),
        ("--agree", asked.agree),
    ):
        require_weight(option, weight)
    project = frame.project
    names = [project.parse(text, "features")[1] for text in asked.source] or [project.only("features")]
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise UsageError("input-twice", f"--from names {twice} twice", "Give each feature set once")
    found = [project.input(f"features.{number}", "features", one) for number, one in enumerate(names)]
    sets = [frame.features(one) for one in names]
    slots = [(number, slot) for number, features in enumerate(sets) for slot in find_slots(features, asked.layers)]
    _require_tokens(sets)
    _require_each_once([slot for _, slot in slots])
    responses = open_responses(asked.brain, subject=asked.subject)
    for note in responses.notes:
        frame.output.note(note)
    pairs = pair_images(responses, sets, frame.output)
    chosen, split = split_images(asked.test_split, pairs, responses.given, asked.seed)
    weights = Weights(asked.eigen, asked.zero, asked.cov, asked.agree)
    settings = Settings(
        asked.dim, weights, asked.init, asked.epochs, batch=asked.batch_size, rate=asked.rate, seed=asked.seed
    )
    recipe = Recipe(
        "align",
        check_name(asked.name or "+".join(names)),
        ALGORITHM,
        _params(
            settings,
            chosen,
            [[slot.layer for number, slot in slots if number == one] for one in range(len(sets))],
            asked.folds,
        ),
        tuple(given for given, _ in found),
        {"brain": responses.identity, "split": _split_identity(split)},
    )
    if asked.folds and asked.folds > len(split) // 2:
        raise UsageError(
            "bad-folds", f"--folds {asked.folds} of {len(split)} images leave folds of one", "Give fewer folds"
        )
    parents = tuple(header for _, header in found)
    set_of, chosen_slots = zip(*slots, strict=True)
    plan = Plan(recipe, parents, chosen_slots, set_of, responses, pairs, split, settings)
    require_nodes(plan)
    return plan


def ablated_values(text: str) -> list[float]:
    """The weights of --ablate eigen=…. Raises UsageError."""
    key, _, values = text.partition("=")
    try:
        found = [float(value) for value in values.split(",")]
    except ValueError:
        found = [-1.0]
    if key != "eigen" or min(found) < 0 or max(found) == float("inf") or len(set(found)) < len(found):
        raise UsageError("bad-ablate", f"--ablate {text!r} cannot be", "Give different weights such as eigen=1,0.1,0")
    return found


def require_weight(option: str, weight: float) -> None:
    """Raise UsageError unless a weight of the loss is finite in float32."""
    if not 0 <= weight <= LARGEST_WEIGHT:
        raise UsageError(
            "bad-weight", f"{option} {weight:g} is not in 0 to {LARGEST_WEIGHT:g}", "Give a weight such as 1"
        )


def require_nodes(plan: Plan) -> None:
    """Raise DataError if the smallest batch has too few tokens for the eigenvectors of the eigen-constraint."""
    from alignedcut_cli.core.align.loss import EIGENVECTORS

    settings, images = plan.settings, plan.fitted_images
    smallest = images % settings.batch or settings.batch
    tokens = smallest * min(map(_kept_tokens, plan.slots))
    if settings.weights.eigen and settings.epochs and tokens <= EIGENVECTORS:
        raise DataError(
            "too-few-tokens",
            f"with {images} images to fit and --batch-size {settings.batch}, a step has {smallest} images with {tokens} "
            f"tokens, and the eigen-constraint needs {EIGENVECTORS + 1}",
            "Choose another --batch-size, or extract with more tokens",
        )


def _kept_tokens(slot: Slot) -> int:
    """Number of stored tokens per image."""
    tensors = slot.source.header.raw["tensors"]
    entry = tensors.get(f"sampled.{slot.layer:02d}") or tensors[f"tokens.{slot.layer:02d}"]
    return entry["shape"][1]


def _params(settings: Settings, split: str, layers: list[list[int]], folds: int | None) -> dict[str, Any]:
    is_file = split not in ("given", "even-odd") and not split.startswith("last:")
    return {
        "dim": settings.dim or "auto",
        "eigen": settings.weights.eigen,
        "zero": settings.weights.zero,
        "cov": settings.weights.cov,
        "init": settings.init,
        "agree": settings.weights.agree,
        "epochs": settings.epochs,
        "patience": settings.patience,
        "batch": settings.batch,
        "nodes": settings.nodes,
        "rate": settings.rate,
        "test_split": "file" if is_file else split,
        "seed": settings.seed,
        "layers": layers,
        **({"folds": folds} if folds else {}),
    }


def _split_identity(split: np.ndarray) -> str:
    from alignedcut_cli.store.canonical import tensor_digest

    return tensor_digest({"split": split})


def _require_tokens(sets: Sequence[FeatureSet]) -> None:
    """Raise DataError for feature sets without tokens, which the regularisers need."""
    for features in sets:
        if not any(name.startswith(("tokens.", "sampled.")) for name in features.header.raw["tensors"]):
            raise DataError(
                "tokens-missing",
                f"features/{features.folder.name} holds only pooled features, and the regularisers need tokens",
                "Extract again with --tokens sample:16 or --tokens all",
            )


def slot_key(slot: Slot) -> tuple[str, str, int]:
    """What identifies a slot across images: weights, tap and layer."""
    return slot.source.header.raw["external"].get("weights", ""), slot.about["tap"], slot.layer


def _require_each_once(slots: Sequence[Slot]) -> None:
    """Raise UsageError if two feature sets hold the same layer of the same weights, ambiguous for `cut`."""
    seen: dict[tuple[str, str, int], str] = {}
    for slot in slots:
        key = slot_key(slot)
        if key in seen:
            raise UsageError(
                "slot-twice", f"{slot.name} and {seen[key]} are the same slot", "Give each model and tap once"
            )
        seen[key] = slot.name
