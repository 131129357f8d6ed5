"""The tasks of a cut by lowrank, each of which writes one part from the features and from the parts before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from alignedcut_cli.commands.cut.arrays import arrays_of, made_of, numerics, tensor_of
from alignedcut_cli.commands.cut.plan import Plan
from alignedcut_cli.commands.cut.run import Solved
from alignedcut_cli.commands.cut.solve import (
    Precision,
    centres_of,
    in_tiles,
    is_streamed,
    landmark_options,
    open_rows,
    quick_for,
    solve,
)
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.slots import Slot
from alignedcut_cli.nodes.spaces import open_transforms
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.core.graph.one_pass import Projected, Rotation
    from alignedcut_cli.core.graph.pilot import Pilot

__all__ = ["CELLS", "CENTRES", "GRAM", "PILOT", "PROJECT", "ROTATION", "ROWS", "SUM", "Cutting"]

CENTRES, CELLS, PILOT, PROJECT = "centres", "cells", "pilot", "project"
SUM, GRAM, ROTATION, ROWS = "sum", "gram", "rotation", "rows"
Arrays = Mapping[str, "np.ndarray"]


class Cutting:
    """The parts of the cut of a plan: `write_` makes one, of a graph or of a range; `solved` puts them together."""

    def __init__(self, frame: Frame, plan: Plan, device: torch.device) -> None:
        self._frame, self._plan, self._device = frame, plan, device
        self.parts = Parts(frame.project, plan.recipe, numerics(device))
        self._params = plan.recipe.params
        self.is_balanced, self.graphs = "balance" in self._params, len(plan.nodes)
        self._opened: dict[int, GraphRows] = {}
        self._pilots: dict[int, Pilot] = {}

    @cached_property
    def streamed(self) -> list[int]:
        """The graphs that are cut in a pass."""
        return [number for number, nodes in enumerate(self._plan.nodes) if is_streamed(self._params, nodes)]

    @cached_property
    def ranges(self) -> list[tuple[int, int, int]]:
        """(graph, start, stop) of all ranges of these graphs."""
        from alignedcut_cli.core.graph.one_pass import split

        return [
            (number, start, stop)
            for number in self.streamed
            for start, stop in split(self._plan.nodes[number], self._plan.span(number))
        ]

    # parts

    def _graph_part(self, sweep: str, graph: int) -> Arrays:
        """The part of a graph; that of the pilots is a sweep of all graphs, the others are of those in a pass."""
        some = range(self.graphs) if sweep == PILOT else self.streamed
        return self.parts.read(sweep, some.index(graph), len(some))

    def _write(self, sweep: str, graph: int, arrays: Arrays) -> None:
        some = range(self.graphs) if sweep == PILOT else self.streamed
        self.parts.write(sweep, some.index(graph), len(some), arrays)

    def _range_part(self, sweep: str, number: int) -> Arrays:
        return self.parts.read(sweep, number, len(self.ranges))

    def _write_range(self, sweep: str, number: int, arrays: Arrays) -> None:
        self.parts.write(sweep, number, len(self.ranges), arrays)

    def _of_graph(self, sweep: str, graph: int) -> Iterator[tuple[int, int, Arrays]]:
        """(start, stop, part) of a graph's ranges, in their order."""
        for number, (other, start, stop) in enumerate(self.ranges):
            if other == graph:
                yield start, stop, self._range_part(sweep, number)

    # what tasks keep for the next

    @cached_property
    def _transform(self) -> Callable[[Slot], torch.Tensor | None]:
        return open_transforms(self._plan.space)

    def _open(self, graph: int, able: Sequence[str]) -> tuple[GraphRows, Precision]:
        return open_rows(self._plan, graph, self._transform, self._device, able)

    def _choose(self, graph: int) -> tuple[GraphRows, Precision]:
        """A graph's rows and its precision, by what this machine is quick in."""
        return self._open(graph, quick_for(self._params, self._plan.nodes[graph], self._device))

    def _chosen(self, sweep: str, graph: int) -> tuple[GraphRows, Precision]:
        """A graph's rows and its precision, as the sweep of the centres or of the pilot chose it."""
        precision = Precision.of(self._graph_part(sweep, graph))
        if graph not in self._opened:
            self._opened[graph] = self._open(graph, [precision.transforms])[0]
        return self._opened[graph], precision

    def _pilot(self, graph: int) -> Pilot:
        from alignedcut_cli.core.graph.pilot import Pilot

        if graph not in self._pilots:
            self._pilots[graph] = made_of(Pilot, self._graph_part(PILOT, graph), self._device)
        return self._pilots[graph]

    # tasks

    def write_centres(self, graph: int) -> None:
        """The centres of a balanced graph's cells, and its precision."""
        rows, precision = self._choose(graph)
        centres = centres_of(rows, self._params, graph).cpu().numpy()
        self._write(CENTRES, graph, {"centres": centres, **precision.codes()})

    def write_cells(self, number: int) -> None:
        """The cell of each node of a range, and how many lie in each."""
        import torch

        from alignedcut_cli.core.graph.density import nearest_centres

        graph, start, stop = self.ranges[number]
        rows, precision = self._chosen(CENTRES, graph)
        centres = tensor_of(self._graph_part(CENTRES, graph)["centres"], self._device)

        def made(tile: int) -> torch.Tensor:
            return nearest_centres(rows.read, start, stop, centres, precision=precision.cosines, tile=tile)

        cells = in_tiles(self._frame, made, self._device)
        sizes = torch.bincount(cells, minlength=len(centres))
        self._write_range(CELLS, number, {"cells": cells.cpu().numpy(), "sizes": sizes.cpu().numpy()})

    def write_pilot(self, graph: int) -> None:
        """What a pass over a graph needs, or the whole cut of a graph that the pilot sees whole."""
        found, precision = (self._streamed_pilot if graph in self.streamed else self._whole)(graph)
        self._write(PILOT, graph, {**found, **precision.codes()})

    def _whole(self, graph: int) -> tuple[Arrays, Precision]:
        rows, precision = self._choose(graph)
        cut, weights = solve(self._frame, self._plan, rows, graph, precision, self._device, 0)
        assert cut.extension is not None
        extension = {name: getattr(cut.extension, name).cpu().numpy() for name in ("landmarks", "maps")}
        told = {
            name: getattr(cut, name).cpu().numpy() for name in ("eigenvectors", "eigenvalues", "residuals", "sampled")
        }
        weighted = {} if weights is None else {"weights": weights.cpu().numpy()}
        return {**told, **extension, **weighted, **arrays_of(cut.certificate)}, precision

    def _streamed_pilot(self, graph: int) -> tuple[Arrays, Precision]:
        from alignedcut_cli.core.graph.lowrank import pilot_lowrank

        rows, precision = self._chosen(CENTRES, graph) if self.is_balanced else self._choose(graph)
        weighted, weigh = {}, None
        if self.is_balanced:
            weights = self._cell_weights(graph)
            weighted, weigh = {"cell_weights": weights.numpy()}, lambda ids: weights[self._cells_of(graph, ids)]

        def made(tile: int) -> Pilot:
            options = landmark_options(self._params, graph)
            return pilot_lowrank(
                rows.take, len(rows), self._params["eigenvectors"], tile=tile, weights=weigh, **options
            )

        return {**arrays_of(in_tiles(self._frame, made, self._device)), **weighted}, precision

    def _cell_weights(self, graph: int) -> torch.Tensor:
        from alignedcut_cli.core.graph.density import cell_weights
        from alignedcut_cli.core.graph.one_pass import add_up

        return cell_weights(add_up(tensor_of(part["sizes"]) for _, _, part in self._of_graph(CELLS, graph)))

    def _cells_of(self, graph: int, ids: torch.Tensor) -> torch.Tensor:
        """The cells of ascending ids."""
        import torch

        return torch.cat([tensor_of(part["cells"][own]) for own, part in self._holding(CELLS, graph, ids)]).long()

    def _holding(self, sweep: str, graph: int, ids: torch.Tensor) -> Iterator[tuple[np.ndarray, Arrays]]:
        """Of each range that holds some of the ascending ids: their places in it, and its part."""
        import numpy as np

        wanted = ids.numpy()
        for number, (other, start, stop) in enumerate(self.ranges):
            first, last = np.searchsorted(wanted, (start, stop))
            if other == graph and last > first:
                yield wanted[first:last] - start, self._range_part(sweep, number)

    def _weights(self, number: int) -> torch.Tensor | None:
        """The weights (t,) of the nodes of a range, where they are balanced."""
        if not self.is_balanced:
            return None
        weights = tensor_of(self._graph_part(PILOT, self.ranges[number][0])["cell_weights"])
        return weights[tensor_of(self._range_part(CELLS, number)["cells"])].to(self._device)

    def write_projected(self, number: int) -> None:
        """Y of a range, and what its nodes add up to."""
        from alignedcut_cli.core.graph.one_pass import Projected, Sums, project

        graph, start, stop = self.ranges[number]
        (rows, precision), pilot, weights = self._chosen(PILOT, graph), self._pilot(graph), self._weights(number)
        into = Projected.empty(stop - start, self._params["eigenvectors"], len(pilot.guess), self._device)

        def made(tile: int) -> Sums:
            return project(pilot, rows.read, start, stop, into, weights=weights, precision=precision.cosines, tile=tile)

        sums = in_tiles(self._frame, made, self._device)
        added = {"mass": sums.mass.cpu().numpy(), **arrays_of(sums.exact)}
        self._write_range(PROJECT, number, {**arrays_of(into), **added})

    def write_sums(self, graph: int) -> None:
        """The sums over all nodes of a graph, and the coefficients of its degrees."""
        from alignedcut_cli.core.graph.certificate import ExactRows
        from alignedcut_cli.core.graph.one_pass import Sums, degree_map

        pilot = self._pilot(graph)
        sums = Sums.none(pilot)
        for _, _, part in self._of_graph(PROJECT, graph):
            sums.add(Sums(tensor_of(part["mass"], self._device), made_of(ExactRows, part, self._device)))
        coefficients = degree_map(pilot, sums.mass).cpu().numpy()
        self._write(SUM, graph, {"coefficients": coefficients, **arrays_of(sums.exact)})

    def _projected(self, number: int) -> tuple[Projected, torch.Tensor]:
        """Y of a range, and its degrees."""
        from alignedcut_cli.core.graph.one_pass import Projected, degrees_of

        coefficients = self._graph_part(SUM, self.ranges[number][0])["coefficients"]
        projected = made_of(Projected, self._range_part(PROJECT, number), self._device)
        return projected, degrees_of(projected, tensor_of(coefficients, self._device))

    def write_gram(self, number: int) -> None:
        """The Gram of a range."""
        from alignedcut_cli.core.graph.one_pass import gram_of

        gram = gram_of(*self._projected(number), self._weights(number))
        self._write_range(GRAM, number, {"gram": gram.cpu().numpy()})

    def write_rotation(self, graph: int) -> None:
        """What turns Y into the eigenvectors of a graph."""
        from alignedcut_cli.core.graph.certificate import ExactRows
        from alignedcut_cli.core.graph.lowrank import signing_nodes
        from alignedcut_cli.core.graph.one_pass import rotation_of

        summed, total = self._graph_part(SUM, graph), self._plan.nodes[graph]
        found = rotation_of(
            self._pilot(graph),
            made_of(ExactRows, summed, self._device),
            tensor_of(summed["coefficients"], self._device),
            self._added(GRAM, graph),
            self._params["eigenvectors"],
            total,
            lambda ids: self._rows_of(graph, ids),
            signing_nodes(total, landmark_options(self._params, graph)["seed"]),
        )
        self._write(ROTATION, graph, arrays_of(found))

    def _added(self, sweep: str, graph: int) -> torch.Tensor:
        """The sum of a graph's Grams, in the order of ranges."""
        from alignedcut_cli.core.graph.one_pass import add_up

        return add_up(tensor_of(part["gram"], self._device) for _, _, part in self._of_graph(sweep, graph))

    def _rows_of(self, graph: int, ids: torch.Tensor) -> torch.Tensor:
        """Y of ascending ids (n, p), float32, reading no others."""
        import torch

        from alignedcut_cli.core.graph.one_pass import Projected

        found = [
            Projected(tensor_of(part["first"][own]), tensor_of(part["spare"][own])).rows(slice(None))
            for own, part in self._holding(PROJECT, graph, ids)
        ]
        return torch.cat(found).to(self._device)

    def _rotation(self, graph: int) -> Rotation:
        from alignedcut_cli.core.graph.one_pass import Rotation

        return made_of(Rotation, self._graph_part(ROTATION, graph), self._device)

    def write_rows(self, number: int) -> None:
        """The eigenvectors of a range, and their Gram."""
        from alignedcut_cli.core.graph.one_pass import rotate

        projected, degrees = self._projected(number)
        turn, into = self._rotation(self.ranges[number][0]).turn, projected.first
        gram = rotate(projected, degrees, turn, into, self._weights(number))
        self._write_range(ROWS, number, {"rows": into.cpu().numpy(), "gram": gram.cpu().numpy()})

    # the end

    def solved(self) -> list[Solved]:
        """The cut of every graph, from all parts."""
        return [(self._merged if graph in self.streamed else self._read_whole)(graph) for graph in range(self.graphs)]

    def _told(self, graph: int) -> str:
        return Precision.of(self._graph_part(PILOT, graph)).told(self._plan.space.alignment is not None)

    def _read_whole(self, graph: int) -> Solved:
        from alignedcut_cli.core.graph.certificate import Certificate
        from alignedcut_cli.core.graph.landmarks import Extension
        from alignedcut_cli.core.graph.ncut import Cut

        part = self._graph_part(PILOT, graph)
        one = {name: tensor_of(array) for name, array in part.items()}
        extension = Extension(one["landmarks"], one["maps"], self._params["gamma"])
        certificate = made_of(Certificate, part, self._device)
        vectors, values, residuals = one["eigenvectors"], one["eigenvalues"], one["residuals"]
        cut = Cut(vectors, values, residuals, one["sampled"], certificate, extension)
        return Solved(cut, part.get("weights"), self._told(graph))

    def _merged(self, graph: int) -> Solved:
        """The cut of a graph in a pass, whose rows and weights are read from the parts as they are needed."""
        import numpy as np
        import torch

        from alignedcut_cli.core.graph.lowrank import cut_of

        rows = self.parts.rows(ROWS, self.ranges, graph, lambda part: part["rows"])
        nothing = torch.empty(0, self._params["eigenvectors"])
        cut = cut_of(self._pilot(graph), self._rotation(graph), nothing, self._added(ROWS, graph))
        weights = None
        if self.is_balanced:
            of_cells = np.array(self._graph_part(PILOT, graph)["cell_weights"])
            weights = self.parts.rows(CELLS, self.ranges, graph, lambda part: of_cells[part["cells"]])
        return Solved(cut, weights, self._told(graph), rows=rows)
