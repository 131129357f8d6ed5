"""Making a planned set of maps, group by group."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.extract.map_layout import SURVEYED, Layout, lay_out
from alignedcut_cli.commands.extract.map_passes import panels, read_in_passes
from alignedcut_cli.commands.extract.map_plan import MapPlan
from alignedcut_cli.commands.extract.map_read import Differing, Pixels, Reader
from alignedcut_cli.commands.extract.map_rows import scratch_files
from alignedcut_cli.commands.extract.map_shards import MapShards
from alignedcut_cli.commands.extract.map_whole import read_whole
from alignedcut_cli.commands.extract.run import make_set, told_when_stopped
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.canonical import canonical_json
from alignedcut_cli.store.features import FeatureWriter, read_plan
from alignedcut_cli.store.files import remove, writing_text
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.backbones.network import Network
    from alignedcut_cli.core.maps.passes import Group

__all__ = ["make_maps", "survey"]

_DISTINCT = "distinct.json"
_GROUP = "group.json"


def survey(plan: MapPlan, device: torch.device, distinct: Collection[str] = ()) -> tuple[Network, Layout]:
    """A plan's network with its weights, and the layout of its set of maps, from a few forward passes."""
    from alignedcut_cli.backbones.load import load_weights

    network = load_weights(plan.network, plan.weights, device)
    seen = Pixels(network, plan.manifest.paths()[:SURVEYED], keep=False)
    return network, lay_out(plan, network, seen.read(0, SURVEYED), distinct)


def make_maps(frame: Frame, plan: MapPlan, device: torch.device, *, overwrite: bool) -> tuple[Header, bool]:
    """The header of a set of maps, made unless it is up to date, and whether it was made."""
    place = plan.manifest.identity, plan.manifest.root
    return make_set(frame, plan.recipe, place, overwrite, lambda: _extract(frame, plan, device))


def _extract(frame: Frame, plan: MapPlan, device: torch.device) -> Header:
    """All maps, in as many passes as the memory requires, resuming an interrupted run."""
    distinct = set(_begun(plan, _DISTINCT) or ())
    while True:
        network, layout = survey(plan, device, distinct)
        try:
            return _Run(frame, plan, network, layout, sorted(distinct)).run()
        except Differing as found:
            distinct |= set(found.names)
            told = ", ".join(sorted(found.names))
            frame.output.note(f"alike on the first images but not on all, and kept as well: {told}; beginning again")


def _begun(plan: MapPlan, file: str) -> Any:
    """The notes of an interrupted run of this recipe in a file of its folder; None without one."""
    begun = read_plan(plan.folder)
    path = FeatureWriter(plan.folder, plan.recipe, ()).partial / file
    if begun is None or begun["recipe"] != plan.recipe.identity or not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


@dataclass(frozen=True)
class _Work:
    """A group of maps to be read, by their numbers, and the number of images whose rows are already on disk."""

    numbers: list[int]
    group: Group
    begun: int = 0

    @property
    def steps(self) -> int:
        """Images that its progress counts."""
        return self.group.reads + (self.group.way != "passes") * self.group.sizes.images


class _Run:
    """One run of a plan whose layout is known."""

    def __init__(self, frame: Frame, plan: MapPlan, network: Network, layout: Layout, distinct: Sequence[str]) -> None:
        self.frame, self.plan, self.layout, self.distinct = frame, plan, layout, distinct
        self.shards = MapShards(plan, network, layout)
        self.reader = Reader(network, layout, plan.manifest.paths())

    def run(self) -> Header:
        """Read what is missing, and commit the set. Raises Differing if the layout turns out to be wrong."""
        layout, name, writer = self.layout, self.plan.recipe.name, self.shards.writer
        self.frame.journal.note("start", "features", name, self.frame.argv, recipe=self.plan.recipe.identity)
        begun = _begun(self.plan, _GROUP)
        writer.open()
        if self.distinct:
            writing_text(self.shards.folder / _DISTINCT, canonical_json(self.distinct))
        work = self._work(begun)
        missing = writer.missing()
        if len(missing) < len(layout.outputs) or (begun and work):
            there = len(layout.outputs) - len(missing)
            self.frame.output.note(f"{name}: {there} of {len(layout.outputs)} maps are there; going on")
        self._say(work)
        with (
            told_when_stopped(self.frame, [writer], "maps", self._told_begun),
            self.frame.output.progress(name, sum(one.steps for one in work), "images") as advance,
        ):
            for one in work:
                self._note(one, one.begun)
                if one.group.way == "passes":
                    read_in_passes(self.reader, self.shards, one.numbers, one.group, advance)
                else:
                    read_whole(
                        self.reader,
                        self.shards,
                        one.numbers,
                        one.group,
                        one.begun,
                        lambda count, one=one: self._note(one, count),
                        advance,
                    )
                self._clear()
        return self.shards.commit()

    def _note(self, work: _Work, begun: int) -> None:
        """Record what is being read, so that the same command can resume."""
        writing_text(self.shards.folder / _GROUP, canonical_json({**self._state(work.group), **_of(work, begun)}))

    def _state(self, group: Group) -> dict[str, Any]:
        return {"way": group.way, "block": group.block, "batch": group.sizes.batch, **self.shards.numerics}

    def _work(self, begun: Any) -> list[_Work]:
        """The groups of missing maps. An interrupted one keeps its passes, or its rows on disk, if still valid."""
        missing = self.shards.writer.missing()
        first = self._begun_work(begun)
        if first is None or not set(first.numbers) & set(missing):
            self._clear()
            first = None
        else:
            missing = [one for one in missing if one not in first.numbers]
        groups = self.layout.groups(missing) if missing else []
        work = [_Work(missing[group.first : group.stop], group) for group in groups]
        return [first, *work] if first else work

    def _begun_work(self, begun: Any) -> _Work | None:
        """The group that an interrupted run was reading; None if it cannot be resumed."""
        from alignedcut_cli.core.maps.passes import begun_group

        if not isinstance(begun, dict):
            return None
        known, count = set(range(len(self.layout.outputs))), begun.get("begun")
        numbers, way, block = (begun.get(key) for key in ("maps", "way", "block"))
        if (
            not isinstance(numbers, list)
            or not numbers
            or not all(type(one) is int and one in known for one in numbers)
        ):
            return None
        if not isinstance(way, str) or type(block) is not int or type(count) is not int or block < 1 or count < 0:
            return None
        group = begun_group(self.layout.needs(numbers), self.layout.sizes, self.layout.limits, way, block)
        if group is None or begun != {**self._state(group), "maps": numbers, "begun": count}:
            return None
        if way == "disk" and not self._has_rows(numbers, count):
            count = 0
        return _Work(numbers, group, count)

    def _has_rows(self, numbers: Sequence[int], count: int) -> bool:
        """Whether the rows of all maps without a shard are on disk, judged by file sizes."""
        if not count:
            return False
        sizes = {path.name: path.stat().st_size for path in scratch_files(self.shards.folder)}
        wanted = set(numbers) & set(self.shards.writer.missing())
        each = {number: 4 * self.layout.sizes.images * self.layout.outputs[number].units for number in wanted}
        return all(sizes.get(f"scratch-{number:05d}.bin") == size for number, size in each.items())

    def _say(self, work: Sequence[_Work]) -> None:
        layout, name = self.layout, self.plan.recipe.name
        passes = sum(len(one.group.blocks) for one in work)
        told = f"{len(layout.outputs)} maps (+{len(layout.twins)} duplicates), {passes} pass{'es' * (passes != 1)}"
        self.frame.output.note(f"{name}: {told}")
        disk = max((one.group.disk for one in work), default=0)
        if disk:
            told = f"more rows than the memory takes: up to {format_bytes(disk)} of them go to {self.shards.folder}"
            self.frame.output.note(f"{name}: {told}, until they are compared")
        reasons: dict[str, list[str]] = {}
        for output, reason in layout.left_out:
            reasons.setdefault(reason, []).append(output)
        for reason, names in reasons.items():
            shown = ", ".join(names[:3]) + (", ..." if names[3:] else "")
            self.frame.output.note(f"{name}: left out {len(names)} outputs with {reason}: {shown}")
        self.frame.output.detail(
            f"{self.plan.recipe.params['model']} on {self.reader.device}, {layout.sizes.batch} a batch"
        )

    def _told_begun(self) -> str:
        """The saved progress of unfinished maps: passes, or the rows of images."""
        count = len(panels(self.shards.folder))
        if count:
            return f" and {count} pass{'es' * (count != 1)} over others"
        begun = _begun(self.plan, _GROUP)
        rows = begun.get("begun", 0) if isinstance(begun, dict) and scratch_files(self.shards.folder) else 0
        return f" and the rows of {rows} images" if rows else ""

    def _clear(self) -> None:
        """Remove the files of a group: passes, rows, raw maps, and the notes on them."""
        folder = self.shards.folder
        for path in [*panels(folder), *scratch_files(folder), *sorted(folder.glob("raw-*.bin")), folder / _GROUP]:
            remove(path)


def _of(work: _Work, begun: int) -> dict[str, Any]:
    return {"maps": work.numbers, "begun": begun}
