"""The plan of a cut of many graphs: the graphs of its layers, their weights, and the memory needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.cut.graph_inputs import find_sources, source_inputs, source_slots
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.run import Frame, require_choice
from alignedcut_cli.nodes.rows import patch_rows
from alignedcut_cli.nodes.slots import Slot, require_same_images
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    from torch import Tensor

    from alignedcut_cli.commands.cut.asked import Asked

__all__ = ["GRAPH_SOLVERS", "GraphLayer", "GraphPlan", "joint_slots", "make_graph_plan"]

ALGORITHM = 3
GRAPH_SOLVERS = ("auto", "direct", "gradient")
NEIGHBORS, THRESHOLD = 50, 0.1
OF_FEATURES = (
    "--space",
    "--align",
    "--roi",
    "--nodes",
    "--sampling",
    "--refine",
    "--bootstrap",
    "--balance",
    "--gamma",
)
GRID_SIDE = 32
QUICK_NODES = 20_000
"""Nodes from which on neighbours are first searched in low precision."""


@dataclass(frozen=True)
class GraphLayer:
    """One layer whose graphs are in the cut; `weight` is that of all its heads' graphs together."""

    queries: Slot
    keys: Slot
    weight: float

    @property
    def grid(self) -> tuple[int, int]:
        rows, columns = self.queries.about["grid"]
        return rows, columns

    @property
    def places(self) -> int:
        """Places of one image."""
        return self.grid[0] * self.grid[1]

    def rows(self) -> tuple[Tensor, Tensor]:
        """The queries and keys of all places, image by image: (B * places, D) float32 on the CPU."""
        queries = patch_rows(self.queries)
        return queries, queries if self.is_of_one else patch_rows(self.keys)

    @property
    def is_of_one(self) -> bool:
        """Whether queries and keys are the same features."""
        return self.queries.source.folder == self.keys.source.folder


@dataclass(frozen=True)
class GraphPlan:
    """The cuts to be made: all `layers` jointly, or with --per-slot separately; over all images, or image by image.

    `slots` are those of the node table: one for all layers, or one per layer. `nodes` counts the nodes of each cut.
    """

    recipe: Recipe
    parents: tuple[Header, ...]
    layers: tuple[GraphLayer, ...]
    slots: tuple[Slot, ...]
    images: Sequence[Any]

    @property
    def groups(self) -> tuple[tuple[GraphLayer, ...], ...]:
        """The layers of each slot."""
        return tuple((layer,) for layer in self.layers) if self.recipe.params["per_slot"] else (self.layers,)

    @property
    def by_image(self) -> bool:
        return self.recipe.params["scope"] == "image"

    @property
    def extensible(self) -> bool:
        """Whether new images can be embedded in it: only in eigenvectors over the data set."""
        return self.recipe.params["solver"] == "direct" and not self.by_image

    @property
    def nodes(self) -> tuple[int, ...]:
        parts = len(self.images) if self.by_image else 1
        return tuple(slot.nodes // parts for slot in self.slots for _ in range(parts))

    @property
    def graphs(self) -> str:
        """What each graph of the cut covers."""
        whole = "one a slot" if self.recipe.params["per_slot"] else "one for all layers"
        return f"{whole} and image" if self.by_image else whole

    @cached_property
    def search_precision(self) -> str:
        """The precision of the first search across images: the fastest on this machine, in large graphs; measured once."""
        import torch

        from alignedcut_cli.core.graph.quantised_cosines import quick_precisions

        if self.recipe.params["precision"] != "auto" or self.by_image or max(self.nodes) < QUICK_NODES:
            return "float32"
        return quick_precisions(torch.device("cpu"))[-1]

    def edges(self) -> int:
        """The most non-zeros in all graphs of the largest cut: each place has its neighbours, and is one of theirs."""
        return max(self._edges())

    def kept_bytes(self) -> int:
        """Bytes of the graphs of all layers, which lie on disk until the cut is made; 0 where they are made bit by bit."""
        return 0 if self.by_image or self.recipe.params["solver"] == "gradient" else 8 * sum(self._edges())

    def _edges(self) -> list[int]:
        """Of each cut."""
        return [
            sum(self._graphs_of(layer) * len(self._images()) * layer.places * self._kept(layer) for layer in group)
            for group in self.groups
        ]

    def feature_bytes(self) -> int:
        """Bytes of the stored features that the graphs of all layers are made of."""
        return sum(
            2 * (2 - layer.is_of_one) * layer.queries.about["width"] * layer.queries.nodes for layer in self.layers
        )

    def need_of_a_layer(self) -> int:
        """Bytes of main memory for the graphs of one layer: in the making, and its features in float32."""
        widths = [3 * 4 * layer.places * layer.queries.about["width"] for layer in self.layers]
        kept = [(16 + 8 * self._graphs_of(layer)) * layer.places * self._kept(layer) for layer in self.layers]
        return len(self._images()) * max(map(sum, zip(widths, kept, strict=True)))

    def need(self) -> int:
        """Bytes of main memory: graphs, one in the making, the solver's blocks, and two layers' features in float32."""
        from alignedcut_cli.core.graph.block_krylov import DEPTH
        from alignedcut_cli.core.graph.mean_of_graphs import MORE_COLUMNS

        nodes, count = max(self.nodes), self.recipe.params["eigenvectors"]
        largest = max(len(self._images()) * layer.places * self._kept(layer) for layer in self.layers)
        features = max(4 * nodes * layer.queries.about["width"] for layer in self.layers)
        if self.recipe.params["solver"] == "gradient":  # all layers' features are in memory, for any batch
            features *= 2 * max(map(len, self.groups)) / 3
        blocks = 4 * 2 * nodes * (count + MORE_COLUMNS) * (DEPTH + 2)
        written = sum(self.nodes) * 4 * (count + 4)
        return int(8 * self.edges() + 16 * largest + blocks + 3 * features + written)

    def _images(self) -> Sequence[Any]:
        """The images whose graphs are held at once."""
        return self.images[:1] if self.by_image else self.images[: self.recipe.params.get("batch")]

    def _graphs_of(self, layer: GraphLayer) -> int:
        joined = not self.recipe.params["heads"]
        return 1 if joined else layer.queries.about["heads"]

    def _kept(self, layer: GraphLayer) -> int:
        params = self.recipe.params
        within = min(params["neighbors"], layer.places - 1)
        others = (len(self._images()) - 1) * layer.places
        return min(2 * (within + min(params["neighbors_across"], others)), len(self._images()) * layer.places)


def make_graph_plan(frame: Frame, asked: Asked) -> GraphPlan:
    """The plan of a cut of graphs, from headers alone. Raises UsageError, DataError or InputMissingError."""
    _require_used(asked)
    sources = find_sources(frame, asked.graph, asked.source)
    inputs = source_inputs(frame, sources)
    headers = [header for _, header in inputs]
    require_same_images([given.name for given, _ in inputs], headers)
    pairs = [pair for source in sources for pair in source_slots(frame, source, asked.layers)]
    weights = _weights(asked.layer_weights, pairs)
    layers = tuple(GraphLayer(*pair, weight) for pair, weight in zip(pairs, weights, strict=True))
    if asked.heads or asked.graph == "attn":
        _require_heads(asked.graph, layers)
    images = headers[0].axes["B"]["images"]
    names = [source.model_name for source in sources]
    params = _params(asked, len(images))
    params |= {"layers": [[layer.queries.layer for layer in layers if _is_of(layer, s.queries)] for s in sources]}
    params |= {"layer_weights": [float(f"{layer.weight:.9g}") for layer in layers]}
    name = check_name(asked.name or _default_name(names, params))
    recipe = Recipe("cut", name, ALGORITHM, params, tuple(given for given, _ in inputs))
    slots = tuple(joint_slots(asked.graph, layers, per_slot=asked.per_slot))
    plan = GraphPlan(recipe, tuple(headers), layers, slots, images)
    if asked.eigenvectors > min(plan.nodes):
        raise UsageError(
            "too-many-eigenvectors", f"--eigenvectors {asked.eigenvectors} of {min(plan.nodes)} nodes", "Ask for fewer"
        )
    return plan


def _is_of(layer: GraphLayer, name: str) -> bool:
    return layer.queries.source.folder.name == name


def _require_used(asked: Asked) -> None:
    """Raise UsageError for invalid values, and for options given explicitly that are not used here."""
    require_choice("--solver", asked.solver, GRAPH_SOLVERS)
    unused = [option for option in OF_FEATURES if option in asked.explicit]
    if unused:
        raise UsageError("option-unused", f"--graph {asked.graph} does not use {', '.join(unused)}", "Leave it out")
    if asked.scope:
        require_choice("--scope", asked.scope, ("dataset", "image"))
    if asked.threshold is not None and not 0 <= asked.threshold < 1:
        raise UsageError(
            "bad-threshold",
            f"--threshold {asked.threshold:g} is not in [0, 1): no cosine exceeds 1, and edges are not negative",
            "Give for example 0.1",
        )
    if asked.graph == "attn" and asked.scope == "dataset":
        raise UsageError(
            "option-contradicts",
            "--graph attn with --scope dataset: attention joins the patches of one image, never of two",
            "Give --scope image, or --graph qk",
        )
    descent = [option for option in ("--epochs", "--batch") if option in asked.explicit]
    if descent and asked.solver != "gradient":
        raise UsageError("option-unused", f"--solver {asked.solver} does not use {', '.join(descent)}", "Leave it out")
    if "--batch" in descent and (asked.graph == "attn" or asked.scope == "image"):
        raise UsageError("option-unused", "--scope image does not use --batch: each image is cut alone", "Leave it out")
    if "--neighbors-across" in asked.explicit and (asked.graph == "attn" or asked.scope == "image"):
        raise UsageError(
            "option-unused", "--scope image does not use --neighbors-across: each image is cut alone", "Leave it out"
        )


def _params(asked: Asked, images: int) -> dict[str, Any]:
    from alignedcut_cli.core.graph.gradient_cut import EPOCHS, UPDATES

    attention = asked.graph == "attn"
    scope = asked.scope or ("image" if attention else "dataset")
    threshold = asked.threshold if asked.threshold is not None else 0.0 if attention else THRESHOLD
    gradient: dict[str, Any] = {}
    if asked.solver == "gradient":
        by_image = scope == "image"
        gradient["epochs"] = asked.epochs or (UPDATES if by_image else EPOCHS)
        gradient |= {} if by_image else {"batch": min(asked.batch, images)}
    return {
        **gradient,
        "graph": asked.graph,
        "heads": asked.heads,
        "scope": scope,
        "neighbors": asked.neighbors or NEIGHBORS,
        "neighbors_across": 0 if scope == "image" or images == 1 else asked.neighbors_across,
        "threshold": threshold,
        "per_slot": asked.per_slot,
        "eigenvectors": asked.eigenvectors,
        "solver": "direct" if asked.solver == "auto" else asked.solver,
        "precision": asked.precision,
        "seed": asked.seed,
        "space": "raw",
    }


def _weights(text: str, pairs: Sequence[tuple[Slot, Slot]]) -> list[float]:
    """The weight of each layer, summing to 1: equal, 32 / side of its grid, or as given."""
    if text == "equal":
        found = [1.0] * len(pairs)
    elif text == "grid":
        found = [GRID_SIDE / (queries.about["grid"][0] * queries.about["grid"][1]) ** 0.5 for queries, _ in pairs]
    else:
        found = _numbers(text, len(pairs))
    return [one / sum(found) for one in found]


def _numbers(text: str, count: int) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(0 <= one < float("inf") for one in found) or not sum(found) > 0:
        raise UsageError(
            "bad-weights",
            f"--layer-weights {text!r} are no weights of {count} layers",
            f"Give equal, grid, or {count} numbers from 0, some above it, such as {','.join(['1'] * min(count, 4))}",
        )
    return found


def _require_heads(graph: str, layers: Sequence[GraphLayer]) -> None:
    needed = ("heads", "scale") if graph == "attn" else ("heads",)
    for layer in layers:
        lacking = [key for key in needed if key not in layer.queries.about]
        if lacking or layer.queries.about["width"] % layer.queries.about["heads"]:
            raise DataError(
                "heads-unknown",
                f"{layer.queries.name} does not say {' and '.join(lacking) or 'how its channels are split into heads'}",
                "Extract it again with --overwrite, or leave --heads out" if graph != "attn" else "Use --graph qk",
            )


def joint_slots(graph: str, layers: Sequence[GraphLayer], *, per_slot: bool) -> list[Slot]:
    """The slots of the node table: one per layer, or one for all layers, on the finest grid."""
    if per_slot:
        return [_slot(graph, [layer]) for layer in layers]
    return [_slot(graph, layers)]


def _slot(graph: str, layers: Sequence[GraphLayer]) -> Slot:
    from dataclasses import replace

    last = layers[-1].queries
    models = dict.fromkeys(layer.queries.about["model"] for layer in layers)
    about = {
        "model": " + ".join(models),
        "layer": last.layer,
        "tap": graph,
        "width": last.about["width"],
        "grid": [max(layer.grid[axis] for layer in layers) for axis in (0, 1)],
        "class_token": False,
        **({"layers": sorted({layer.queries.layer for layer in layers})} if len(layers) > 1 else {}),
    }
    return replace(last, about=about)


def _default_name(names: Sequence[str], params: dict[str, Any]) -> str:
    """The models' names with the graph, and the parameters that differ from their defaults."""
    scope = "image" if params["scope"] == "image" and params["graph"] != "attn" else ""
    parts = ["heads" if params["heads"] else "", scope, "per-slot" if params["per_slot"] else ""]
    return "-".join(["+".join(names), params["graph"], *filter(None, parts)])
