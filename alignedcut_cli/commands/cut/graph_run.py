"""`alignedcut cut --graph vv|kk|qk|attn`: build and cut the graphs of all layers, and write the artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.cut.graph_layers import layer_graphs
from alignedcut_cli.commands.cut.graph_pictures import draw_eigenvectors
from alignedcut_cli.commands.cut.graph_plan import GraphLayer, GraphPlan, make_graph_plan
from alignedcut_cli.commands.cut.graph_sweeps import graph_parts, graph_sweeps, read_graphs, require_layers
from alignedcut_cli.commands.cut.run import Solved, certificates, cut_axes, cut_tensors
from alignedcut_cli.errors import DataError, OutOfMemoryError, UsageError
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.frame.sweeps import make_shard, run_sweeps
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from alignedcut_cli.commands.cut.asked import Asked
    from alignedcut_cli.core.graph.mean_of_graphs import LayerGraph
    from alignedcut_cli.core.graph.sparse_graph import SparseGraph

__all__ = ["run_graphs"]

LOSSES = ["total", "eigenvalues", "overlaps"]


@dataclass
class _Beside:
    """What is stored with the eigenvectors: each layer's number of isolated places, the losses of gradient descent graph by
    graph, and for embedding new images the degrees of each layer's graphs and the thresholds of their neighbours."""

    isolated: np.ndarray
    losses: list[Tensor] = field(default_factory=list)
    degrees: list[np.ndarray] = field(default_factory=list)
    least: list[np.ndarray] = field(default_factory=list)

    def tensors(self) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
        """The tensors that are present, and their meanings."""
        import numpy as np
        import torch

        found: dict[str, np.ndarray] = {"isolated": self.isolated}
        if self.losses:
            found["losses"] = torch.nn.utils.rnn.pad_sequence(self.losses, batch_first=True).numpy()
        if self.degrees:
            found |= {"degrees": np.concatenate(self.degrees), "least": np.concatenate(self.least)}
        return found, {name: MEANINGS[name] for name in found}


MEANINGS = {
    "isolated": ("l", "places without a neighbour in the graphs of each layer, which have no influence in these"),
    "losses": ("G t e", "loss of each step, and its parts: 1 - the groups' eigenvalues, squared overlaps"),
    "degrees": ("d", "the degree of each place in each graph, layer by layer, and there head by head"),
    "least": ("d", "the cosine that a place of a new image must exceed to be a neighbour of each of these places"),
}


def run_graphs(frame: Frame, asked: Asked, device: torch.device, budget: int) -> None:
    """Plan, then cut, or print the plan. Raises UsageError, DataError or InputMissingError."""
    if device.type != "cpu" and asked.device != "auto":
        raise UsageError("bad-device", f"--graph {asked.graph} runs on the CPU, not on {device}", "Give --device cpu")
    plan = make_graph_plan(frame, asked)
    if asked.cluster or asked.shard:
        require_layers(plan)
    need = plan.need_of_a_layer() if asked.shard else plan.need()
    if need > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"these graphs take {format_bytes(need)}, --memory allows {format_bytes(budget)}",
            "Give more --memory, fewer --neighbors and --neighbors-across, or fewer --layers",
        )
    path, folder = frame.project.path("cut", plan.recipe.name), frame.project.pictures("cut", plan.recipe.name)
    if asked.dry_run:
        size = sum(plan.nodes) * (4 * plan.recipe.params["eigenvectors"] + 16)
        outputs = [(str(path), size), *([(f"{folder}/", 0)] if asked.pictures else [])]
        if kept := plan.kept_bytes():  # until the cut is made
            outputs.append((f"{frame.project.parts_folder('cut', plan.recipe.name)}/", kept))
        inputs = [f"features/{given.name}" for given in plan.recipe.inputs]
        frame.dry_run(DryRun(inputs, outputs, plan.need(), _counts(frame, asked, plan)))
        return
    if asked.shard:
        sweeps = graph_sweeps(plan, graph_parts(frame, plan))
        frame.output.result(*make_shard(frame, plan.recipe, asked.shard, lambda: sweeps))
        return
    header, made = frame.make_once(plan.recipe, asked.overwrite, lambda: _make(frame, asked, plan))
    value = {"schema": "alignedcut.cut/1", **frame.artifact_object(header, made=made)}
    lines = [value["path"]]
    value |= {"solver": header.params["solver"], "certificates": header.raw.get("certificates", [])}
    if asked.pictures:
        draw_eigenvectors(frame, header, asked.images)
        lines.append(str(folder))
        value["pictures"] = str(folder)
    frame.output.result("\n".join(lines), value)


def _counts(frame: Frame, asked: Asked, plan: GraphPlan) -> tuple[tuple[str, str, int], ...]:
    """What --dry-run tells of shared work: a task a layer, which reads its queries and keys."""
    if not (asked.cluster or asked.shard):
        return ()
    from alignedcut_cli.frame.cluster_costs import shared_counts

    sweeps = graph_sweeps(plan, graph_parts(frame, plan))
    return shared_counts(asked, "cut", sweeps, read=plan.feature_bytes(), memory=plan.need_of_a_layer())


def _make(frame: Frame, asked: Asked, plan: GraphPlan) -> Header:
    import numpy as np
    import torch

    beside = _Beside(np.zeros(len(plan.layers), np.int64))
    solved = _solve(frame, asked, plan, beside)
    _tell_isolated(frame, plan, beside.isolated)
    tensors, meanings = cut_tensors(plan, solved)
    more, about = beside.tensors()
    tensors |= more | {"layer_weights": np.array([layer.weight for layer in plan.layers], np.float32)}
    meanings |= about | {"layer_weights": ("l", "the weight of each layer's graphs in the mean")}
    told = [{"model": layer.queries.about["model"], "layer": layer.queries.layer} for layer in plan.layers]
    header = write_artifact(
        frame.project.path("cut", plan.recipe.name),
        plan.recipe,
        tensors,
        meanings,
        axes={
            **cut_axes(plan, tensors),
            "l": {"size": len(plan.layers), "layers": told},
            **(
                {"t": {"size": tensors["losses"].shape[1]}, "e": {"size": 3, "labels": LOSSES}} if beside.losses else {}
            ),
            **({"d": {"size": len(tensors["degrees"])}} if beside.degrees else {}),
        },
        numerics={
            "torch": torch.__version__,
            "device": "cpu",
            "computed": "; ".join(dict.fromkeys(one.computed for one in solved)),
        },
        parents=plan.parents,
        certificates=certificates(solved),
    )
    graph_parts(frame, plan).drop()
    return header


def _solve(frame: Frame, asked: Asked, plan: GraphPlan, beside: _Beside) -> list[Solved]:
    """The cut of every graph of a plan, slot by slot; `beside` gets what is stored with it."""
    if plan.recipe.params["solver"] == "gradient" and not plan.by_image:
        return _descend(frame, plan, beside.losses)
    from alignedcut_cli.core.graph.gradient_cut import gradient_cut_of_image
    from alignedcut_cli.core.graph.mean_of_graphs import ncut_of_graphs
    from alignedcut_cli.core.numerics import NumericsError, stream

    params = plan.recipe.params
    precision = plan.search_precision
    found: list[Solved] = []
    for numbers, layers in _graphs(frame, asked, plan, precision):
        for number, graphs in zip(numbers, layers, strict=True):
            beside.isolated[number] += _isolated(graphs)
        flat = [graph for graphs in layers for graph in graphs]
        if plan.extensible:
            beside.degrees += [one.graph.degrees for one in flat]
            beside.least += [_least(one.graph, params["threshold"]) for one in flat]
        try:
            seed = stream(params["seed"], "cut", len(found))
            if params["solver"] == "gradient":
                made = gradient_cut_of_image(flat, params["eigenvectors"], updates=params["epochs"], seed=seed)
                cut = made.cut
                beside.losses.append(made.losses)
            else:
                cut = ncut_of_graphs(flat, params["eigenvectors"], seed=seed)
        except NumericsError as error:
            graph_parts(frame, plan).drop()  # of no use to another recipe
            raise DataError(
                "cannot-cut",
                f"graph {len(found)}: {error}",
                "Ask for fewer --eigenvectors, or a lower --threshold",
            ) from None
        found.append(Solved(cut, None, precision))
        _tell(frame, len(found) - 1, found[-1])
    return found


def _descend(frame: Frame, plan: GraphPlan, losses: list[Tensor]) -> list[Solved]:
    """The cut of every slot by gradient descent in batches of images, whose graphs are built on demand."""
    from alignedcut_cli.core.graph.gradient_cut import gradient_cut_of_data_set
    from alignedcut_cli.core.numerics import NumericsError, stream

    params, found = plan.recipe.params, []
    total = params["epochs"] * len(plan.groups)
    with frame.output.progress("descending", total, "epochs") as advance:
        for number, group in enumerate(plan.groups):
            slot = plan.slots[number]
            try:
                made = gradient_cut_of_data_set(
                    _graphs_of_batches(plan, group),
                    len(plan.images),
                    (slot.about["grid"][0], slot.about["grid"][1]),
                    params["eigenvectors"],
                    epochs=params["epochs"],
                    batch=params["batch"],
                    seed=stream(params["seed"], "cut", number),
                    tick=advance,
                )
            except NumericsError as error:
                raise DataError("cannot-cut", f"graph {number}: {error}", "Ask for fewer --eigenvectors") from None
            losses.append(made.losses)
            found.append(Solved(made.cut, None, "float32"))
            _tell(frame, number, found[-1])
    return found


def _graphs_of_batches(plan: GraphPlan, group: Sequence[GraphLayer]) -> Callable[[Tensor], list[LayerGraph]]:
    """From a batch of images to the graphs among them, cached if all images are one batch."""
    import torch

    rows = [layer.rows() for layer in group]
    known: dict[tuple[int, ...], list[LayerGraph]] = {}

    def graphs_of(ids: torch.Tensor) -> list[LayerGraph]:
        key = tuple(ids.tolist())
        if key in known:
            return known[key]
        found = []
        for layer, (queries, keys) in zip(group, rows, strict=True):
            places = (ids[:, None] * layer.places + torch.arange(layer.places)).reshape(-1)
            found += layer_graphs(plan, layer, queries[places], keys[places], "float32", lambda _: None)
        if len(key) == len(plan.images):
            known[key] = found
        return found

    return graphs_of


def _graphs(
    frame: Frame, asked: Asked, plan: GraphPlan, precision: str
) -> Iterator[tuple[Sequence[int], Sequence[Sequence[LayerGraph]]]]:
    """For each cut, the numbers of its layers and the graphs of each: one cut a slot, or one a slot and image."""
    numbers = [[plan.layers.index(layer) for layer in group] for group in plan.groups]
    if not plan.by_image:
        parts = graph_parts(frame, plan)
        run_sweeps(frame, asked, graph_sweeps(plan, parts))
        for own in numbers:
            yield own, [read_graphs(plan, parts, number) for number in own]
        return
    work = sum(len(plan.images) * layer.places for layer in plan.layers)
    with frame.output.progress("finding neighbours", work, "places") as advance:
        for own in numbers:
            rows = [plan.layers[number].rows() for number in own]
            for image in range(len(plan.images)):
                yield (
                    own,
                    [
                        _of_image(plan, plan.layers[number], image, *pair, precision, advance)
                        for number, pair in zip(own, rows, strict=True)
                    ],
                )


def _of_image(
    plan: GraphPlan,
    layer: GraphLayer,
    image: int,
    queries: Tensor,
    keys: Tensor,
    precision: str,
    advance: Callable[[int], None],
) -> list[LayerGraph]:
    """The graphs of a layer over the places of one image."""
    own = slice(image * layer.places, (image + 1) * layer.places)
    return layer_graphs(plan, layer, queries[own], keys[own], precision, advance)


def _least(graph: SparseGraph, threshold: float) -> np.ndarray:
    """The cosine that a new neighbour must exceed; the threshold where other images were not searched."""
    import numpy as np

    return np.full(len(graph), threshold, np.float32) if graph.least is None else graph.least


def _isolated(graphs: Sequence[LayerGraph]) -> int:
    """Places that have no neighbour in any of a layer's graphs."""
    import numpy as np

    return int(np.logical_and.reduce([one.graph.isolated for one in graphs]).sum())


def _tell_isolated(frame: Frame, plan: GraphPlan, isolated: np.ndarray) -> None:
    """Note, in one line, all layers in which some places have no neighbour."""
    counts = [
        f"{count} of {len(plan.images) * layer.places} in {layer.queries.name}"
        for layer, count in zip(plan.layers, isolated.tolist(), strict=True)
        if count
    ]
    if counts:
        frame.output.note(
            f"places without a neighbour above --threshold {plan.recipe.params['threshold']:g}, and so no influence there: "
            + ", ".join(counts)
        )


def _tell(frame: Frame, number: int, solved: Solved) -> None:
    found: Any = solved.certificate
    frame.output.detail(
        f"graph {number}: residual {found.residual:.2g} of the smallest eigenvalue, orthogonality {found.orthogonality:.1e}"
    )
