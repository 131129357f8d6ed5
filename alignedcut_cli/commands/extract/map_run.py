"""A planned set of maps made, pass by pass, or found up to date."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from alignedcut_cli.commands.extract.map_plan import SURVEYED, Layout, MapPlan, lay_out, map_device
from alignedcut_cli.commands.extract.run import make_set, told_when_stopped
from alignedcut_cli.errors import AlignedcutError, DataError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import map_tensor, read_layout, write_tensors
from alignedcut_cli.store.canonical import canonical_json, tensor_digest
from alignedcut_cli.store.features import FeatureWriter, read_plan
from alignedcut_cli.store.files import disk_errors, remove, writing_text
from alignedcut_cli.store.header import KEY, Header
from alignedcut_cli.store.maps import map_meanings, map_tensors

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.backbones.modules import Output
    from alignedcut_cli.backbones.network import Network
    from alignedcut_cli.core.maps.block import Block
    from alignedcut_cli.core.maps.passes import Group

__all__ = ["make_maps", "survey"]

_DISTINCT = "distinct.json"
_GROUP = "group.json"


class _Differing(Exception):
    """Outputs that were alike on the first images are not on others."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names


def survey(plan: MapPlan, device: torch.device, distinct: Collection[str] = ()) -> tuple[Network, Layout]:
    """A plan's network with its weights, and what its set of maps will hold. This takes a few forward passes."""
    from alignedcut_cli.backbones.load import load_weights

    network = load_weights(plan.network, plan.weights, device)
    seen = _Pixels(network, plan.manifest.paths()[:SURVEYED], keep=False)
    return network, lay_out(plan, network, seen.read(0, SURVEYED), distinct)


def make_maps(frame: Frame, plan: MapPlan, device: torch.device, *, overwrite: bool) -> tuple[Header, bool]:
    """One set of maps, made or found up to date: (header, whether it was made)."""
    place = plan.manifest.identity, plan.manifest.root
    return make_set(frame, plan.recipe, place, overwrite, lambda: _extract(frame, plan, device))


def _extract(frame: Frame, plan: MapPlan, device: torch.device) -> Header:
    """All maps, read in as many passes as the memory needs; those of an earlier run that did not end are taken over."""
    distinct = set(_begun(frame, plan, _DISTINCT) or ())
    while True:
        network, layout = survey(plan, device, distinct)
        try:
            return _Run(frame, plan, network, layout, sorted(distinct)).run()
        except _Differing as found:
            distinct |= set(found.names)
            told = ", ".join(sorted(found.names))
            frame.output.note(f"alike on the first images but not on all, and kept as well: {told}; beginning again")


def _begun(frame: Frame, plan: MapPlan, file: str) -> Any:
    """What a run of this recipe that did not end noted in a file of its folder; None without one."""
    folder = frame.project.path("features", plan.recipe.name)
    begun = read_plan(folder)
    path = FeatureWriter(folder, plan.recipe, ()).partial / file
    if begun is None or begun["recipe"] != plan.recipe.identity or not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


class _Pixels:
    """The images in the network's size, decoded by all cores between forward passes; kept for the next pass if `keep`."""

    def __init__(self, network: Network, paths: Sequence[Path], *, keep: bool) -> None:
        self._network, self._paths, self._keep = network, paths, keep
        self._kept: dict[int, np.ndarray] = {}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images start to stop: (b, size, size, 3) uint8."""
        import numpy as np

        from alignedcut_cli.datasets.images import decode

        preprocess = self._network.preprocess
        if start in self._kept:
            return self._kept[start]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            resized = pool.map(lambda path: preprocess.resize(decode(path, preprocess.size)), self._paths[start:stop])
            pixels = np.stack(list(resized))
        if self._keep:
            self._kept[start] = pixels
        return pixels


class _Run:
    """One run of a plan whose layout is known."""

    def __init__(self, frame: Frame, plan: MapPlan, network: Network, layout: Layout, distinct: Sequence[str]) -> None:
        self.frame, self.plan, self.network, self.layout, self.distinct = frame, plan, network, layout, distinct
        self.device = next(network.module.parameters()).device
        self.held = map_device(self.device)
        self.writer = FeatureWriter(
            frame.project.path("features", plan.recipe.name),
            plan.recipe,
            [(number, number + 1) for number in range(len(layout.outputs))],
            along="maps",
        )
        self.pixels = _Pixels(network, plan.manifest.paths(), keep=layout.keeps_pixels)

    def run(self) -> Header:
        """Read what is missing, and commit the set. Raises _Differing if the layout turns out to be wrong."""
        layout, name = self.layout, self.plan.recipe.name
        self.frame.journal.note("start", "features", name, self.frame.argv, recipe=self.plan.recipe.identity)
        begun = _begun(self.frame, self.plan, _GROUP)
        self.writer.open()
        if self.distinct:
            writing_text(self.writer.partial / _DISTINCT, canonical_json(self.distinct))
        work = self._work(begun)
        missing = self.writer.missing()
        if len(missing) < len(layout.outputs) or (begun and work):
            there = len(layout.outputs) - len(missing)
            self.frame.output.note(f"{name}: {there} of {len(layout.outputs)} maps are there; going on")
        self._say(work)
        total = sum(group.reads for _, group in work)
        with (
            told_when_stopped(self.frame, [self.writer], "maps", self._told_passes),
            self.frame.output.progress(name, total, "images") as advance,
        ):
            for numbers, group in work:
                self._read_group(numbers, group, advance)
        return self.writer.commit(numerics={**self._numerics, "activation": self._activation}, axes=self._axes)

    def _work(self, begun: Any) -> list[tuple[list[int], Group]]:
        """The groups of maps that are missing, with the maps' numbers. One that was begun keeps its passes if it may."""
        from alignedcut_cli.core.maps.passes import begun_group

        missing = self.writer.missing()
        first: list[tuple[list[int], Group]] = []
        numbers, block = self._state_of(begun)
        if set(numbers) & set(missing):
            group = begun_group(self.layout.needs(numbers), self.layout.sizes, block)
            if group.bytes <= self.layout.free:
                first = [(numbers, group)]
                missing = [one for one in missing if one not in numbers]
        if not first:
            for path in self._panels():
                remove(path)
        return [
            *first,
            *((missing[group.first : group.stop], group) for group in (self.layout.groups(missing) if missing else ())),
        ]

    def _state_of(self, begun: Any) -> tuple[list[int], int]:
        """The maps of a group that was begun and the images that its passes hold; no maps for what is of no use."""
        known, batch = set(range(len(self.layout.outputs))), self.layout.sizes.batch
        if not isinstance(begun, dict) or begun.get("batch") != batch:
            return [], batch
        numbers, block = begun.get("maps"), begun.get("block")
        if not isinstance(numbers, list) or not all(type(one) is int and one in known for one in numbers):
            return [], batch
        return (numbers, block) if type(block) is int and block > 0 and block % batch == 0 else ([], batch)

    def _say(self, work: Sequence[tuple[list[int], Group]]) -> None:
        layout, passes = self.layout, sum(len(group.blocks) for _, group in work)
        told = f"{len(layout.outputs)} maps (+{len(layout.twins)} duplicates), {passes} pass{'es' * (passes != 1)}"
        self.frame.output.note(f"{self.plan.recipe.name}: {told}")
        reasons: dict[str, list[str]] = {}
        for name, reason in layout.left_out:
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            shown = ", ".join(names[:3]) + (", ..." if names[3:] else "")
            self.frame.output.note(f"{self.plan.recipe.name}: left out {len(names)} outputs with {reason}: {shown}")
        self.frame.output.detail(f"{self.plan.recipe.params['model']} on {self.device}, {layout.sizes.batch} a batch")

    def _told_passes(self) -> str:
        """The passes that are whole, of maps that are not."""
        count = len(list(self.writer.partial.glob("panel-*.safetensors")))
        return f" and {count} pass{'es' * (count != 1)} over others" if count else ""

    def _panels(self) -> list[Path]:
        """What an interrupted group left: its finished passes, its raw maps, and the file that says which they are."""
        folder = self.writer.partial
        return [*sorted(folder.glob("panel-*.safetensors")), *sorted(folder.glob("raw-*.bin")), folder / _GROUP]

    def _read_group(self, numbers: Sequence[int], group: Group, advance: Callable[[int], None]) -> None:
        """The maps of one group: written at the end of the one pass, or pass by pass and joined after the last."""
        state = {"maps": list(numbers), "block": group.block, "batch": self.layout.sizes.batch}
        writing_text(self.writer.partial / _GROUP, canonical_json(state))
        outputs = [self.layout.outputs[number] for number in numbers]
        n = self.layout.sizes.images
        panels = [self.writer.partial / f"panel-{first:07d}.safetensors" for first, _ in group.blocks]
        projections: dict[int, Any] = {}
        for (first, stop), panel in zip(group.blocks, panels, strict=True):
            if self._is_whole(panel, outputs, first):
                advance(n - first)
                continue
            blocks = self._read_block(outputs, numbers, first, stop, projections, advance)
            if len(panels) == 1:
                self._write_maps(numbers, blocks)
            else:
                self._write_panel(panel, outputs, blocks, first)
            del blocks
        projections.clear()
        if len(panels) > 1:
            self._join(numbers, panels)
        for path in self._panels():
            remove(path)

    def _read_block(
        self,
        outputs: Sequence[Output],
        numbers: Sequence[int],
        first: int,
        stop: int,
        projections: dict[int, Any],
        advance: Callable[[int], None],
    ) -> dict[str, Block]:
        """One pass: the images `first` to `stop` are held, these and all later ones read."""
        from alignedcut_cli.backbones.modules import read_outputs
        from alignedcut_cli.core.maps.block import Block, Workers
        from alignedcut_cli.core.maps.projection import Projection

        n, batch, seed = self.layout.sizes.images, self.layout.sizes.batch, self.plan.recipe.params["seed"]
        for output in outputs:
            if self.layout.projected(output) and output.units not in projections:
                projections[output.units] = Projection(output.units, self.layout.dimensions, seed, self.held)
        blocks = {
            output.name: Block(
                output.units,
                first,
                stop,
                images=n,
                batch=batch,
                projection=projections.get(output.units),
                device=self.held,
            )
            for output in outputs
        }
        wanted = sorted([*outputs, *self.layout.twins_of(outputs)], key=lambda one: one.place)
        with Workers(self.held) as workers, self._raw_files(outputs, numbers) as files:
            for start in range(first, n, batch):
                pixels = self.pixels.read(start, min(start + batch, n))

                def take(output: Output, rows: torch.Tensor, start: int = start) -> None:
                    blocks[output.name].add(start, rows.to(self.held), workers)
                    if output.name in files and start < stop:
                        files[output.name].seek(4 * start * output.units)
                        files[output.name].write(rows.cpu().contiguous().numpy().data)

                images = self.network.preprocess.normalise(pixels, self.device)
                differing = read_outputs(self.network, images, wanted, take, compare=start < stop)
                if differing:
                    raise _Differing(differing)
                advance(len(pixels))
        for name, block in blocks.items():
            if not bool(block.gram.isfinite().all()):
                told = f"{name} of {self.network.id.label} gives NaN or infinity"
                raise DataError("feature-not-finite", told, "Check the weights, or leave it out by --modules")
        return blocks

    @contextmanager
    def _raw_files(self, outputs: Sequence[Output], numbers: Sequence[int]) -> Iterator[dict[str, BinaryIO]]:
        """The files that take the maps themselves, by the name of each output that is kept raw beside its projection."""
        with ExitStack() as stack, disk_errors(self.writer.partial):
            files: dict[str, BinaryIO] = {}
            for output, number in zip(outputs, numbers, strict=True):
                if self.layout.keeps_raw and self.layout.projected(output):
                    path = self._raw_path(number)
                    files[output.name] = stack.enter_context(path.open("r+b" if path.exists() else "w+b"))
            yield files
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())

    def _raw_path(self, number: int) -> Path:
        return self.writer.partial / f"raw-{number:05d}.bin"

    def _write_maps(self, numbers: Sequence[int], blocks: dict[str, Block]) -> None:
        """Write the shards of maps whose block is all images."""
        from alignedcut_cli.core.maps.block import mirror

        for number in numbers:
            block = blocks.pop(self.layout.outputs[number].name)
            matrix = block.rows if block.projected is None else block.projected
            self._write_map(number, mirror(block.gram).numpy(), block.sums.numpy(), matrix.cpu().numpy())

    def _write_map(self, number: int, gram: np.ndarray, sums: np.ndarray, matrix: np.ndarray) -> None:
        import numpy as np

        output = self.layout.outputs[number]
        raw = None
        if self.layout.keeps_raw and self.layout.projected(output):
            raw = np.memmap(self._raw_path(number), "<f4", mode="r", shape=(len(gram), output.units))
        tensors = map_tensors(number, gram, sums, np.ascontiguousarray(matrix), raw)
        axes = {"B": {"size": len(gram)}}
        self.writer.write(number, tensors, map_meanings(number, output.name), numerics=self._numerics, axes=axes)
        remove(self._raw_path(number))

    def _panel_header(self, outputs: Sequence[Output], first: int, content: str) -> dict[str, Any]:
        """Whose pass a panel is of."""
        return {
            "schema": "alignedcut.kept/1",
            "recipe": self.plan.recipe.identity,
            **self._numerics,
            "maps": [output.name for output in outputs],
            "first": first,
            "batch": self.layout.sizes.batch,
            "content": content,
        }

    def _write_panel(self, path: Path, outputs: Sequence[Output], blocks: dict[str, Block], first: int) -> None:
        tensors: dict[str, np.ndarray] = {}
        for number, output in enumerate(outputs):
            block = blocks.pop(output.name)
            matrix = block.rows if block.projected is None else block.projected
            tensors |= map_tensors(number, block.gram.numpy(), block.sums.numpy(), matrix.cpu().numpy())
        write_tensors(path, tensors, self._panel_header(outputs, first, tensor_digest(tensors)))

    def _is_whole(self, path: Path, outputs: Sequence[Output], first: int) -> bool:
        """Whether a panel is there that this very pass wrote."""
        try:
            layout = read_layout(path)
        except AlignedcutError:
            return False
        content = tensor_digest({name: map_tensor(layout, name) for name in layout.offsets})
        return layout.metadata.get(KEY) == canonical_json(self._panel_header(outputs, first, content))

    def _join(self, numbers: Sequence[int], panels: Sequence[Path]) -> None:
        """Write the shards of maps from the panels of all passes, one map at a time."""
        import numpy as np
        import torch

        from alignedcut_cli.core.maps.block import mirror

        layouts = [read_layout(path) for path in panels]
        missing = set(self.writer.missing())
        for place, number in enumerate(numbers):
            if number not in missing:
                continue
            gram, sums, matrix = (
                np.concatenate([map_tensor(layout, name) for layout in layouts])
                for name in map_tensors(place, *[np.zeros(0)] * 3)
            )
            self._write_map(number, mirror(torch.from_numpy(gram)).numpy(), sums, matrix)

    @property
    def _numerics(self) -> dict[str, str]:
        import torch

        return {
            "torch": torch.__version__,
            "device": self.device.type,
            "computed": "float32, added up in float64",
            "stored": "float64 and float32",
        }

    @property
    def _activation(self) -> str:
        from alignedcut_cli.backbones.network import activation_of

        return activation_of(self.network.module)

    @property
    def _axes(self) -> dict[str, Any]:
        slots = [
            {
                "model": self.network.id.label,
                "layer": number,
                "tap": "maps",
                "name": output.name,
                "kind": output.kind,
                "shape": list(output.shape),
                "units": output.units,
                "projected": self.layout.projected(output),
                "duplicates": self.layout.duplicates(output),
            }
            for number, output in enumerate(self.layout.outputs)
        ]
        images = [entry.as_object() for entry in self.plan.manifest.images]
        return {
            "B": {"size": len(images), "images": images},
            "S": {"size": len(slots), "slots": slots},
        }
