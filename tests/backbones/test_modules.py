"""Outputs of all modules: read as independent hooks read them, alike ones found, images never taken for anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alignedcut_cli.backbones.modules import Output, Survey, matching, read_outputs, survey_outputs
from alignedcut_cli.backbones.network import Network, build_network
from alignedcut_cli.backbones.preprocess import Preprocess
from alignedcut_cli.backbones.registry import ModelId, parse_model
from alignedcut_cli.errors import UsageError
from tests.helpers.vits import pictures

MODELS = {
    "torchvision:alexnet": (64, 4),
    "torchvision:resnet18": (32, 9),
    "convnext_atto": (32, 10),
    "tiny-dino": (96, 10),
    "swin_tiny_patch4_window7_224": (56, 10),
}
"""Size of the images, and duplicates there are at least."""


@pytest.fixture(scope="module", params=MODELS)
def network(request: pytest.FixtureRequest) -> Network:
    return build_network(parse_model(request.param), MODELS[request.param][0], 0)


def network_of(module: nn.Module, size: int = 8) -> Network:
    return Network(
        id=ModelId("made-up", "timm", "made-up"),
        resolved="made-up",
        module=module.eval(),
        forward=module,
        preprocess=Preprocess(size, (0.5,) * 3, (0.5,) * 3, "bicubic"),
        classifier=(),
        adapt=lambda state: state,
        hub={},
    )


def surveyed(network: Network, images: int = 4) -> Survey:
    return survey_outputs(network, pictures(images, network.preprocess.size))


def taken(network: Network, outputs: Any, images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    assert read_outputs(network, images, outputs, lambda one, rows: found.__setitem__(one.name, rows.clone())) == []
    return found


def first_outputs(network: Network, images: Tensor) -> Mapping[str, Tensor]:
    """What each module gives when it is called first, copied at once by a hook of our own."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found.setdefault(name, output.detach().clone())

        return hook

    handles = [part.register_forward_hook(keep(name)) for name, part in network.module.named_modules()]
    with torch.no_grad():
        network.forward(images)
    for handle in handles:
        handle.remove()
    return found


def test_rows_are_what_modules_give_before_anything_changes_it(network: Network) -> None:
    images = pictures(4, network.preprocess.size)
    survey = survey_outputs(network, images)
    assert survey.left_out == ()
    rows, wanted = taken(network, survey.outputs, images), first_outputs(network, images)
    assert set(rows) == {one.name for one in survey.outputs if one.same_as is None}
    for name, found in rows.items():
        if "@" not in name:
            assert torch.equal(found, wanted[name].reshape(len(images), -1)), name
    assert {name for name in wanted if name} <= {one.name for one in survey.outputs}
    twins = [one for one in survey.outputs if one.same_as]
    for one in twins:
        if "@" not in f"{one.name}{one.same_as}":
            assert torch.equal(wanted[one.name].reshape(-1), wanted[one.same_as or ""].reshape(-1))
    assert len(twins) >= MODELS.get(network.id.label, (0, 0))[1]
    assert [one.cost for one in survey.outputs] == sorted(one.cost for one in survey.outputs)


def test_an_image_has_the_same_rows_alone_and_among_others(network: Network) -> None:
    images = pictures(4, network.preprocess.size)
    outputs = survey_outputs(network, images).outputs
    together, alone = taken(network, outputs, images), taken(network, outputs, images[2:3])
    for name, rows in together.items():
        torch.testing.assert_close(rows[2:3], alone[name], rtol=1e-3, atol=1e-4)


def test_relu_in_place_does_not_change_what_was_read_before_it() -> None:
    network = network_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Dropout(), nn.Identity()))
    images = pictures(4, 8)
    outputs = survey_outputs(network, images).outputs
    assert [(one.name, one.same_as) for one in outputs] == [("0", None), ("1", None), ("2", "1"), ("3", "1")]
    rows = taken(network, outputs, images)
    assert float(rows["0"].min()) < 0
    assert torch.equal(rows["0"].relu(), rows["1"])


class _Odd(nn.Module):
    """One module called twice, one that gives several outputs, a table without images, images on the second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.split, self.table, self.turned = nn.ReLU(), _Several(), _Table(), _Turned()

    def forward(self, images: Tensor) -> Tensor:
        flat = self.act(images.flatten(1)) - 0.5
        first, second = self.split(self.act(flat))["b"], self.table(images)
        return self.turned(first) + second.sum()


class _Several(nn.Module):
    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        return {"a": rows[:, :3] + 1, "b": rows[:, 3:9], "whole": (rows > 0).sum(1)}


class _Table(nn.Module):
    def forward(self, _: Tensor) -> Tensor:
        return torch.ones(7, 4)


class _Turned(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows.T.contiguous()


def test_calls_parts_and_axes_are_told_apart() -> None:
    survey = surveyed(network_of(_Odd()))
    assert [one.name for one in survey.outputs] == ["act", "act@2", "split-a", "split-b", "turned"]
    assert dict(survey.left_out) == {"split-whole": "no floating-point numbers", "table": "no axis of images"}
    turned = survey.outputs[-1]
    assert (turned.axis, turned.shape, turned.same_as) == (1, (6,), "split-b")
    assert matching([one.name for one in survey.outputs], ["act"]) == ["act", "act@2"]
    assert matching([one.name for one in survey.outputs], ["split-?", "t*"]) == ["split-a", "split-b", "turned"]


class _Windows(nn.Module):
    """Four windows of each image, as Swin has them, or the images of each window."""

    def __init__(self, side_by_side: bool) -> None:
        super().__init__()
        self.side_by_side = side_by_side

    def forward(self, images: Tensor) -> Tensor:
        windows = images.flatten(1).unflatten(1, (4, -1))
        return windows.flatten(0, 1) if self.side_by_side else windows.transpose(0, 1).flatten(0, 1)


@pytest.mark.parametrize("side_by_side", [True, False])
def test_windows_belong_to_their_image_or_are_left_out(side_by_side: bool) -> None:
    network = network_of(nn.Sequential(_Windows(side_by_side)))
    survey = surveyed(network)
    if not side_by_side:
        assert survey.left_out == (("0", "images that are not side by side"),)
        return
    images = pictures(5, 8)
    assert survey.outputs[0].shape == (4, 48)
    assert torch.equal(taken(network, survey.outputs, images)["0"], images.flatten(1))


def test_outputs_that_are_alike_on_some_images_alone_are_told() -> None:
    network = network_of(nn.Sequential(nn.Flatten(), nn.ReLU()))
    positive = pictures(4, 8).abs()
    outputs = survey_outputs(network, positive).outputs
    assert [one.same_as for one in outputs] == [None, "0"]
    assert read_outputs(network, positive, outputs, lambda *_: None) == []
    assert read_outputs(network, -positive, outputs, lambda *_: None) == ["1"]
    assert read_outputs(network, -positive, outputs, lambda *_: None, compare=False) == []


def test_the_forward_pass_ends_with_the_last_output_that_is_wanted() -> None:
    class Never(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("was called")

    network = network_of(nn.Sequential(nn.Flatten(), nn.Tanh(), Never()))
    wanted = [Output(name, "", place, (192,), 0, 1, 0) for place, name in enumerate("01")]
    assert set(taken(network, wanted, pictures(2, 8))) == {"0", "1"}


def test_random_weights_are_those_of_the_seed_and_leave_torch_as_it_was() -> None:
    def weights(seed: int) -> Tensor:
        return next(build_network(parse_model("torchvision:resnet18"), 32, seed).module.parameters())

    before = torch.random.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, weights(1)) and not torch.equal(first, weights(2))


@pytest.mark.parametrize(
    ("text", "near"), [("torchvision:alexnett", "torchvision:alexnet"), ("torchvision:vgg16/IMAGENET", "IMAGENET1K_V1")]
)
def test_names_that_torchvision_does_not_know_are_answered(text: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_network(parse_model(text), None)
    assert near in caught.value.remedy
