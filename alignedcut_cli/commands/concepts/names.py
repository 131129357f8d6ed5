"""The names of concepts: the share of each image in a concept, and the word nearest to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alignedcut_cli.commands.concepts.data import patches
from alignedcut_cli.commands.concepts.plan import Plan
from alignedcut_cli.commands.concepts.spheres import Spheres
from alignedcut_cli.core.groups.concept_names import image_shares, name_concepts, orders_needed
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.draws import bootstrap_weights, random_orders

__all__ = ["names_of"]


def names_of(plan: Plan, spheres: Sequence[Spheres]) -> dict[str, np.ndarray]:
    """The tensors of names, (S, K) each and cosines (S, K, W); none without --words."""
    if plan.naming is None:
        return {}
    params, images = plan.recipe.params, len(plan.images)
    shares = []
    for slot, one in zip(plan.slots, spheres, strict=True):
        ids = np.flatnonzero(patches(slot, images))
        shares.append(image_shares(one.concept[ids], ids // slot.tokens, params["concepts"], images))
    there = sum(len(one.centres) for one in spheres)
    seed = stream(params["seed"], "names")
    found = name_concepts(
        np.concatenate(shares),
        plan.naming.embeddings,
        plan.naming.words.vectors,
        bootstrap_weights(images, params["bootstrap"], seed),
        random_orders(images, orders_needed(there), seed),
    )
    shape = (len(plan.slots), params["concepts"])
    return {
        "name.word": found.nearest.reshape(shape).astype(np.int64),
        "name.cosine": found.cosines.reshape(*shape, -1).astype(np.float32),
        "name.p": found.p.reshape(shape).astype(np.float64),
        "name.p.holm": found.adjusted.reshape(shape).astype(np.float64),
        "name.same": found.same.reshape(shape).astype(np.float64),
    }
