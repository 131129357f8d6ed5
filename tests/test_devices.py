"""Every kernel of core keeps its tensors on one device: each runs on a CUDA device that is pretended, and gives the
CPU's numbers there. What this cannot see is the arithmetic of CUDA itself: that is for tests/gpu.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import alignedcut_cli.core
from tests.helpers.kernels import KERNELS
from tests.helpers.pretended_cuda import CUDA, DeviceMixError, on_cuda, pretended_cuda

ON_THE_CPU = {
    "align.train.start_numbers": "a few numbers, which callers move",
    "graph.bootstrap.compare_replicates": "problems of a few columns are solved on the CPU",
    "graph.bootstrap.stable_count": "a few numbers, which are there",
    "graph.neighbours.largest_within": "graphs are built on the CPU",
    "graph.neighbours.nearest_across": "graphs are built on the CPU",
    "graph.neighbours.nearest_among": "graphs are built on the CPU",
    "graph.neighbours.nearest_within": "graphs are built on the CPU",
    "graph.cosine_bounds.cosine_bounds": "graphs are built on the CPU",
    "graph.cosine_bounds.like_beside_like": "graphs are built on the CPU",
    "graph.nearest_search.find_nearest": "graphs are built on the CPU",
    "graph.quantised_cosines.error_at": "graphs are built on the CPU",
    "graph.new_images.edges_of": "graphs are built on the CPU",
    "graph.new_images.embedded_rows": "graphs are built on the CPU",
    "graph.sparse_graph.attention_graph": "graphs are built on the CPU",
    "graph.sparse_graph.cosine_graph": "graphs are built on the CPU",
    "graph.lowrank.signing_nodes": "node ids are made on the CPU",
    "graph.sampling.uniform_sample": "node ids are made on the CPU",
    "maps.workers.most_workers": "a number of threads",
    "groups.oracle.oracle_thresholds": "a few numbers, which callers move",
}

FOR_A_GPU_ALONE = "embed.triton_kernels"
"""Its kernels run on a GPU, and in Triton's interpreter in tests/embed/test_tsne.py."""

OTHERWISE_ON_CUDA = {
    "graph.affinity.tile_rows": "tiles are larger",
    "graph.attention.attention_serves": "the fused kernels are there alone",
}


def plain(found: Any) -> Any:
    """What a kernel gave as nested lists of CPU tensors and numbers, that of data classes too."""
    if is_dataclass(found) and not isinstance(found, type):
        found = [getattr(found, one.name) for one in fields(found)]
    if isinstance(found, list | tuple):
        return [plain(one) for one in found]
    return found.detach().cpu() if isinstance(found, Tensor) else found


def assert_alike(one: Any, other: Any) -> None:
    """Raise AssertionError unless two nests of tensors and numbers are equal up to rounding."""
    if isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_alike(left, right)
    elif isinstance(one, Tensor | float):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), rtol=1e-3, atol=1e-4, equal_nan=True)
    else:
        assert one == other


def on_pretended(kernel: Callable[..., Any]) -> Any:
    """What a kernel gives on the pretended device."""
    with pretended_cuda() as device:
        return plain(kernel(on_cuda, device))


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_keeps_to_its_device(name: str) -> None:
    there = on_pretended(KERNELS[name])
    if name not in OTHERWISE_ON_CUDA:
        assert_alike(plain(KERNELS[name](lambda value: value, torch.device("cpu"))), there)


def takes_tensors(function: Callable[..., Any]) -> bool:
    """Whether a function is annotated with a tensor or a device."""
    return any(word in str(inspect.signature(function)) for word in ("Tensor", "device"))


def test_the_registry_has_every_kernel_of_core() -> None:
    there = set()
    for module in pkgutil.walk_packages(alignedcut_cli.core.__path__, "alignedcut_cli.core."):
        if module.name.endswith(FOR_A_GPU_ALONE):
            continue
        opened = importlib.import_module(module.name)
        for name in getattr(opened, "__all__", ()):
            member = getattr(opened, name)
            if inspect.isfunction(member) and member.__module__ == module.name and takes_tensors(member):
                there.add(f"{module.name.removeprefix('alignedcut_cli.core.')}.{name}")
    assert there - set(KERNELS) == set(ON_THE_CPU)


FAULTS: dict[str, Callable[[Tensor], Any]] = {
    "zeros without a device": lambda x: x + torch.zeros(3),
    "a range on the CPU, added": lambda x: x[:, 0] * torch.arange(4),
    "a matrix on the CPU": lambda x: x @ torch.eye(3),
    "a list made a tensor": lambda x: torch.cat([x[0], torch.tensor([1.0])]),
    "an index on the device into what is not": lambda x: torch.arange(9)[(x[:, 0] > 0).nonzero()],
    "CPU values put in at an index": lambda x: x.index_put_((torch.tensor([0]),), torch.ones(1, 3)),
    "added in place to the CPU's": lambda x: torch.zeros(4, 3).add_(x),
    "written with out=": lambda x: torch.mm(x, x.T, out=torch.empty(4, 4)),
    "drawn by a generator of the CPU": lambda x: torch.randn(3, device=x.device, generator=torch.Generator()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tensor_on_the_wrong_device_is_found(fault: str) -> None:
    with pytest.raises(DeviceMixError):
        on_pretended(lambda on, _: FAULTS[fault](on(torch.randn(4, 3))))


def test_what_cuda_lets_pass_is_let_pass() -> None:
    def kernel(on: Callable[..., Any], device: torch.device) -> Any:
        rows = on(torch.arange(12.0).reshape(4, 3))
        rows[torch.tensor([0])] = rows[torch.arange(1, 2)] * torch.tensor(2.0)
        there = torch.zeros(3)
        there.copy_(rows[0])
        assert rows.device == CUDA and (rows > 0).any() and float(rows[0, 0]) == 6
        return rows, there, rows.where(rows > 7, torch.tensor(0.0)), torch.tensor([1, 2], device=device)

    rows, there, _, made = on_pretended(kernel)
    assert rows[0].tolist() == there.tolist() == [6, 8, 10] and made.tolist() == [1, 2]


def test_a_tensor_on_cuda_is_no_numpy_array() -> None:
    with pytest.raises(TypeError, match="numpy"):
        on_pretended(lambda on, _: on(torch.ones(3)).numpy())
