"""One artifact: one safetensors file, or, where that would be large, a folder of them (see `ranges`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors, remove
from alignedcut_cli.store.header import Header, Recipe, axis_faults, header_from, header_object
from alignedcut_cli.store.index import is_artifact_folder, read_header
from alignedcut_cli.store.ranges import content_id, is_sharded, parts_of, stored_id
from alignedcut_cli.store.sharded import ArtifactWriter, places
from alignedcut_cli.store.shards import other_run, project_of, shard_layouts
from alignedcut_cli.store.swap import partial_folder, swap_out
from alignedcut_cli.store.tensors import Layout, describe, layout_header, map_tensor, read_layout, write_tensors
from alignedcut_cli.store.verify import require_whole

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ArtifactWriter",
    "Layout",
    "is_sharded",
    "layouts_of",
    "load_tensors",
    "map_tensor",
    "map_tensors",
    "open_tensors",
    "read_header",
    "read_layout",
    "write_artifact",
    "write_tensors",
]


def layouts_of(path: Path) -> tuple[Header, list[tuple[Layout, str]]]:
    """An artifact's header, and its files with the content id of each. Raises DataError unless they are as declared."""
    if not is_artifact_folder(path):
        layout = read_layout(path)
        header = layout_header(layout)
        return header, [(layout, header.content)]
    header = read_header(path)
    layouts = shard_layouts(path, header)
    found = {
        name: _joined_shape(layouts, name) for name in dict.fromkeys(name for one in layouts for name in one.offsets)
    }
    if found != {name: (entry["dtype"], entry["shape"]) for name, entry in header.raw["tensors"].items()}:
        raise other_run(path)
    return header, [(layout, shard["content"]) for layout, shard in zip(layouts, header.raw["shards"], strict=True)]


def _joined_shape(layouts: list[Layout], name: str) -> tuple[str, list[int]] | None:
    """(dtype, shape) of the concatenation of a tensor's pieces; None if they do not match."""
    (dtype, shape, _), *others = [layout.offsets[name] for layout in layouts if name in layout.offsets]
    if not others:
        return dtype, list(shape)
    if any((kind, other[1:]) != (dtype, shape[1:]) or not other for kind, other, _ in others):
        return None
    return dtype, [shape[0] + sum(other[0] for _, other, _ in others), *shape[1:]]


def load_tensors(path: Path) -> tuple[Header, dict[str, np.ndarray]]:
    """An artifact's header and all its tensors in memory, verified against its content id (DataError if they differ)."""
    import numpy as np

    header, files = layouts_of(path)
    tensors = {name: np.array(array) for name, array in _Tensors(files).items()}
    if is_artifact_folder(path):
        _require_shards(path, files)
    else:
        _require(path, content_id(tensors), header)
    return header, tensors


def open_tensors(path: Path) -> Mapping[str, np.ndarray]:
    """All tensors of an artifact, read lazily, verified against its content id in chunks (DataError if they differ).

    Each is memory-mapped on access, or is a `JoinedRows` if it is in several shards.
    """
    header, files = layouts_of(path)
    if is_artifact_folder(path):
        _require_shards(path, files)
    else:
        with disk_errors(path):
            _require(path, stored_id(path, files[0][0].offsets), header)
    return _Tensors(files)


def map_tensors(path: Path) -> Mapping[str, np.ndarray]:
    """`open_tensors` without verification."""
    return _Tensors(layouts_of(path)[1])


class _Tensors(Mapping[str, "np.ndarray"]):
    """The tensors in files, each opened on access, as the number of open files is limited."""

    def __init__(self, files: Sequence[tuple[Layout, str]]) -> None:
        self._layouts: dict[str, list[Layout]] = {}
        for layout, _ in files:
            for name in layout.offsets:
                self._layouts.setdefault(name, []).append(layout)

    def __getitem__(self, name: str) -> np.ndarray:
        from alignedcut_cli.store.joined import JoinedRows

        layouts = self._layouts[name]
        if len(layouts) == 1:
            return map_tensor(layouts[0], name)
        lengths = [layout.offsets[name][1][0] for layout in layouts]
        return cast("np.ndarray", JoinedRows(lambda number: map_tensor(layouts[number], name), lengths))

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)

    def __len__(self) -> int:
        return len(self._layouts)


def _require_shards(path: Path, files: list[tuple[Layout, str]]) -> None:
    """Raise DataError unless every shard is intact; a verified, unchanged shard is not read again."""
    require_whole(project_of(path), files, always=False, say=lambda text: None)


def _require(path: Path, found: str, header: Header) -> None:
    if found != header.content:
        told = f"{path}: the tensors do not match the content id in the header"
        raise DataError("artifact-corrupt", told, "Make it again; alignedcut check --deep says how")


def write_artifact(
    path: Path,
    recipe: Recipe,
    tensors: Mapping[str, np.ndarray],
    meanings: Mapping[str, tuple[str, str]],
    *,
    axes: Mapping[str, Any],
    numerics: Mapping[str, Any],
    parents: tuple[Header, ...] = (),
    **more: Any,
) -> Header:
    """Write one artifact, as a folder of shards if it is large, and return its header.

    Of a large one no more than a shard is held in memory, if its long tensors are memory-mapped or `JoinedRows`. `path` is
    `Project.path`; `meanings` maps each tensor to (shape axes, meaning). A meaning mentions NaN where the tensor
    may hold it: `check --deep` reports any other.
    """
    import numpy as np

    folder, file = places(path)
    if is_sharded({name: (array.dtype.str, array.shape) for name, array in tensors.items()}):
        ranges = parts_of(tensors)
        first = next(ranges)
        rows = max(len(array) for name, array in tensors.items() if name not in first)
        writer = ArtifactWriter(path, recipe, rows, numerics)
        writer.open_anew()
        for number, part in enumerate(ranges):
            writer.write(number, part, meanings)
        return writer.commit(first, meanings, axes=axes, parents=parents, **more)
    tensors = {name: np.asarray(array) for name, array in tensors.items()}
    made = header_object(
        recipe,
        content_id(tensors),
        axes=axes,
        tensors=describe(tensors, meanings),
        numerics=numerics,
        parents=parents,
        **more,
    )
    header = header_from(made, str(file))
    contradictions = list(axis_faults(header))
    assert not contradictions, contradictions
    write_tensors(file, tensors, made)
    if is_artifact_folder(folder):
        swap_out(folder)
    remove(partial_folder(folder))
    return header
