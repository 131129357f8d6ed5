"""Odd HDF5 files: data sets of unexpected type, shape or path, or a valid file that is damaged."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

from tests.helpers.odd_bytes import Content, damaged

Fill = Callable[[h5py.File, str], Any]


def _virtual(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout((2, 5, 7, 3), np.uint8)
    layout[:] = h5py.VirtualSource("outside/secret.hdf5", "imgBrick", (2, 5, 7, 3))
    file.create_virtual_dataset(name, layout)


FILLS: tuple[Fill, ...] = (
    lambda file, name: file.create_group(name),
    lambda file, name: file.create_dataset(name, data=np.zeros((2, 5, 7, 3), np.float32)),
    lambda file, name: file.create_dataset(name, data=np.zeros((2, 5, 7), np.uint8)),
    lambda file, name: file.create_dataset(name, data=np.zeros((0, 5, 7, 3), np.uint8)),
    lambda file, name: file.create_dataset(name, data=3),
    lambda file, name: file.create_dataset(name, data=h5py.Empty("u1")),
    lambda file, name: file.create_dataset(name, (1 << 40, 5, 7, 3), np.uint8, chunks=(1, 5, 7, 3)),
    lambda file, name: file.create_dataset(name, (2, 1 << 20, 1 << 20, 3), np.uint8, chunks=(1, 64, 64, 3)),
    lambda file, name: file.create_dataset(name, (4, 1), h5py.ref_dtype),
    lambda file, name: file.create_dataset(name, (1 << 40, 1), h5py.ref_dtype, chunks=(1, 1)),
    lambda file, name: file.create_dataset(name, data=["text", "\x1b[31m"], dtype=h5py.string_dtype()),
    lambda file, name: file.create_dataset(name, (2,), h5py.vlen_dtype(np.uint8)),
    lambda file, name: file.create_dataset(name, (2, 5, 7, 3), np.uint8, external=[("outside/secret.txt", 0, 210)]),
    lambda file, name: file.__setitem__(name, h5py.SoftLink(f"/{name}")),
    lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
    lambda file, name: file.__setitem__(name, h5py.ExternalLink("outside/secret.hdf5", "imgBrick")),
    lambda file, name: file.create_dataset("a\nb\x1b[31m", data=1),
    lambda file, name: file.create_dataset(name, data=np.zeros((1, 1), "V40")),
    lambda file, name: file.create_dataset(name, data=np.zeros((2, 5, 7, 3), np.uint8), compression="gzip"),
    _virtual,
)


def odd_hdf5(valid: bytes) -> Content:
    """A damaged file, or one with something else in place of its images (NSD's or ImageNet-segmentation's)."""

    def made(fill: Fill, name: str) -> bytes:
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            fill(file, name)
        return stream.getvalue()

    names = st.sampled_from(("imgBrick", "value/gt", "value"))
    return st.one_of(damaged(valid), st.builds(made, st.sampled_from(FILLS), names))
