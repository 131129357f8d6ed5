"""The exported tables of an alignment: voxels, areas, images, and the similarity of slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alignedcut_cli.frame.export import Column, Offer, Table, table_of_rows, values
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]

Tensors = Mapping[str, "np.ndarray"]
OF_VOXELS = ("r2.test", "r2.train", "pearson.test", "pearson.train", "ceiling", "scale", "eps", "vertices")
SPLITS = ("fitted", "held out", "test")


def voxels(header: Header, tensors: Tensors) -> Table:
    """A row per voxel: its column in the data, hemisphere where known, scores, and whether it is in each area."""
    found = {"voxel": values(tensors["voxels"])}
    left = header.axes["N"].get("left")
    if left is not None:
        found["hemisphere"] = _hemisphere(left)
    found |= {name: values(tensors[name]) for name in OF_VOXELS if name in tensors}
    if "ceiling" in tensors:
        found["ceiling"] = _known(tensors["ceiling"])
    areas = zip(header.axes["R"]["labels"], tensors["rois"], strict=True)
    return Table(len(tensors["voxels"]), {**found, **{f"roi {name}": _is_one(row) for name, row in areas}})


def _hemisphere(left: int) -> Column:
    import numpy as np

    return Column(lambda start, stop: (np.arange(start, stop) >= left).astype(np.int32), ("left", "right"))


def _known(ceiling: np.ndarray) -> Column:
    import numpy as np

    return Column(lambda start, stop: np.where(ceiling[start:stop] < 0, np.float32(np.nan), ceiling[start:stop]))


def _is_one(row: np.ndarray) -> Column:
    return Column(lambda start, stop: row[start:stop] == 1)


def rois(header: Header, tensors: Tensors) -> Table:
    """A row per area, and one for all voxels: mean scores and ceiling, and the p-value."""
    return table_of_rows(header.raw["rois"])


def images(header: Header, tensors: Tensors) -> Table:
    """A row per image: whether it was fitted, held out or tested on."""
    names = [str(image["path"]) for image in header.axes["I"]["images"]]
    return table_of_rows(
        [{"image": name, "split": SPLITS[part]} for name, part in zip(names, tensors["split"], strict=True)]
    )


def similarity(header: Header, tensors: Tensors) -> Table:
    """A row per pair of slots: the similarity of their channels before and after alignment."""
    slots = [{key: slot[key] for key in ("model", "layer", "tap")} for slot in header.axes["S"]["slots"]]
    return table_of_rows(
        [
            {
                **one,
                **{f"other_{key}": value for key, value in other.items()},
                "before": float(tensors["similarity.before"][i, j]),
                "after": float(tensors["similarity.after"][i, j]),
            }
            for i, one in enumerate(slots)
            for j, other in enumerate(slots)
        ]
    )


EXPORTS = {"voxels": Offer(voxels), "rois": Offer(rois), "images": Offer(images), "similarity": Offer(similarity)}
