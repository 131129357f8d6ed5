"""Loading a vision transformer: build it, load its weights strictly, and describe the layout of its tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from alignedcut_cli.backbones.checkpoint import load_open_clip, read_state, require_fit
from alignedcut_cli.backbones.column import Column, read_column
from alignedcut_cli.backbones.network import Network, activation_of, bad_size, build_network
from alignedcut_cli.backbones.open_clip_tags import list_tags
from alignedcut_cli.backbones.registry import ModelId
from alignedcut_cli.backbones.taps import attention_heads, patch_tokens, read_taps
from alignedcut_cli.core.numerics import is_out_of_memory
from alignedcut_cli.errors import InputMissingError, UnavailableError, first_line
from alignedcut_cli.store.files import make_folder

__all__ = ["RANDOM", "Backbone", "WeightsFile", "build_backbone", "find_weights", "load_weights"]

RANDOM = "random"
"""The value of `--weights` for a randomly initialised model."""
Opened = TypeVar("Opened", bound=Network)


@dataclass(frozen=True, kw_only=True)
class Backbone(Network):
    """A vision transformer whose taps can be read.

    `grid` is the (rows, columns) of its patches, `prefix` the number of tokens before them, of which the class token (if
    it has one) is the first and registers are the rest. Where the class token joins after the first blocks,
    `class_token` is false and `prefix` counts it.
    """

    blocks: Sequence[nn.Module]
    grid: tuple[int, int]
    class_token: bool
    prefix: int

    @property
    def activation(self) -> str:
        """The nonlinearity of the first block's MLP, by its class: GELU, QuickGELU, SiLU, ...; else `unknown`."""
        return activation_of(self.blocks[0])

    @property
    def tokens(self) -> int:
        """P: the class token, if there is one, and the patches."""
        return self.tokens_of(0)

    def grid_of(self, layer: int) -> tuple[int, int]:
        """The (rows, columns) of a layer: `grid`, unless they differ between layers."""
        return self.grid

    def tokens_of(self, layer: int) -> int:
        """P of a layer."""
        rows, columns = self.grid_of(layer)
        return rows * columns + self.class_token

    def features(self, images: Tensor, layers: Sequence[int], tap: str) -> list[Tensor]:
        """The tapped features of a batch (B, 3, size, size): each layer's (B, P, D), class token first, no registers."""
        return self.tap_features(images, layers, (tap,))[tap]

    def tap_features(self, images: Tensor, layers: Sequence[int], taps: Sequence[str]) -> dict[str, list[Tensor]]:
        """The `features` of several taps from one forward pass."""
        found = read_taps(self.forward, self.blocks, layers, taps, images, self.grid)
        for tap, read in found.items():
            for layer, feature in zip(layers, read, strict=True):
                self._require_tokens(feature, layer, tap)
        patches = [self.tokens_of(layer) - self.class_token for layer in layers]
        return {
            tap: [
                patch_tokens(feature, self.class_token, feature.shape[1] - count)
                for feature, count in zip(read, patches, strict=True)
            ]
            for tap, read in found.items()
        }

    def heads(self, layer: int) -> dict[str, Any]:
        """`heads` and `scale` of a layer's attention, as far as known, to split q, k and v into heads."""
        known = attention_heads(self.blocks[layer])
        told = dict(zip(("heads", "scale"), known or (), strict=False))
        return {key: value for key, value in told.items() if value is not None}

    @property
    def bytes(self) -> int:
        """Memory of its parameters in float32."""
        return 4 * sum(one.numel() for one in self.module.parameters())

    @property
    def choices(self) -> dict[str, Any]:
        """The model's parameters in a recipe besides its weights and preprocessing."""
        return {}

    def load(self, weights: WeightsFile, device: torch.device) -> Backbone:
        """The model with its weights, by `load_weights`."""
        return load_weights(self, weights, device)

    def _require_tokens(self, feature: Tensor, layer: int, tap: str) -> None:
        patches = self.tokens_of(layer) - self.class_token
        known = {patches + self.prefix} | (set() if self.class_token else {patches})
        if feature.ndim != 3 or feature.shape[1] not in known:
            raise UnavailableError(
                "tap-missing",
                f"{self.id.label}: tap {tap!r} of layer {layer} gives {tuple(feature.shape)}, "
                f"not (images, {patches + self.prefix}, D)",
                "Choose another --tap or --model",
            )

    @torch.inference_mode()
    def widths(self, layers: Sequence[int], tap: str) -> list[int]:
        """D of each layer's tap, found by one forward pass.

        Raises UnavailableError for a missing tap, or if the model fails on images of its size.
        """
        size, device = self.preprocess.size, next(self.module.parameters()).device
        try:
            found = self.features(torch.zeros(1, 3, size, size, device=device), layers, tap)
        except (AssertionError, RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            told = f"{self.id.label} fails on an image of {size} px ({first_line(error)})"
            raise UnavailableError("model-fails", told, "Give another --image-size or --model") from None
        return [feature.shape[-1] for feature in found]


@dataclass(frozen=True)
class WeightsFile:
    """A local weights file, and its revision on the hub (empty for a file of the user's).

    Without a path the model stays randomly initialised. `others` are the further files of weights in several.
    """

    path: Path | None
    revision: str = ""
    others: tuple[Path, ...] = ()


def build_backbone(model: ModelId, image_size: int | None, seed: int | None = None) -> Backbone:
    """The model with random weights, by `seed` if given, on the CPU, ready for `load_weights`.

    Raises UsageError for an unknown name or unsupported image size, UnavailableError if it is not a vision transformer
    whose blocks can be tapped.
    """
    network = build_network(model, image_size, seed)
    backbone = _from_column(network, image_size or model.image_size)
    if any(not patches or backbone.preprocess.size % patches for patches in backbone.grid):
        told = f"its patches do not tile it ({backbone.grid[0]} x {backbone.grid[1]})"
        raise bad_size(model.label, backbone.preprocess.size, told)
    return backbone


def _from_column(network: Network, size: int | None) -> Backbone:
    """A network as the sequence of blocks that tokens pass through."""
    label, module = network.id.label, network.module
    visual: Any = getattr(module, "visual", module)
    if network.id.source == "torchvision":
        raise UnavailableError("not-a-vit", f"{label} has no taps for tokens", "Give --tap maps")
    if network.id.source == "open_clip" and not hasattr(visual, "trunk"):
        if not hasattr(visual, "transformer") or not hasattr(visual.transformer, "resblocks"):
            raise UnavailableError("not-a-vit", f"{label} has no vision transformer", "See alignedcut models")
        column = Column(list(visual.transformer.resblocks), network.preprocess.size, tuple(visual.grid_size), True, 1)
        forward = visual
    else:
        tower: Any = getattr(visual, "trunk", visual)
        column, forward = read_column(label, tower, size, tower.pretrained_cfg), tower.forward_features
    return Backbone(
        **{
            **vars(network),
            "forward": forward,
            "preprocess": replace(network.preprocess, size=column.size),
            "blocks": column.blocks,
            "grid": column.grid,
            "class_token": column.class_token,
            "prefix": column.prefix,
        }
    )


def find_weights(network: Network, given: Path | None, say: Callable[[str], None] = lambda _: None) -> WeightsFile:
    """The file that holds a model's weights: the user's, the one next to a local model, or the hub's, downloaded once.

    `random` means none. Raises InputMissingError for a missing file, UnavailableError (exit 69) if the hub cannot be
    reached.
    """
    if given == Path(RANDOM):
        return WeightsFile(None)
    if given is not None:
        if not given.is_file():
            raise InputMissingError("weights-missing", f"--weights {given} does not exist", "Check the path")
        return WeightsFile(given)
    if network.id.source == "local":
        return WeightsFile(_local_weights(Path(network.id.target)))
    try:
        path = Path(_download(network, say))
    except Exception as error:
        reason = first_line(error)
        raise UnavailableError(
            "weights-unavailable",
            f"the weights of {network.resolved} are not on this disk and cannot be downloaded ({reason})",
            "Download them elsewhere and give them with --weights FILE",
        ) from None
    revision = re.search(r"/snapshots/([0-9a-f]{40})/", path.as_posix())
    return WeightsFile(path, revision[1] if revision else "")


def _local_weights(folder: Path) -> Path:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise InputMissingError("weights-missing", f"{folder} holds no model.safetensors", "Give --weights FILE")
    return path


def _download(network: Network, say: Callable[[str], None]) -> str:
    if network.id.source == "open_clip":
        import open_clip

        if not network.hub:
            tags = ", ".join(list_tags(network.id.target)) or "open_clip publishes none"
            raise LookupError(f"no /TAG was given: {tags}")
        _say_download(network.resolved, "/".join(network.hub.get("hf_hub", "").split("/")[:2]), say)
        return str(open_clip.download_pretrained(dict(network.hub)))
    if network.id.source == "torchvision":
        return _download_torchvision(network, say)
    from huggingface_hub import hf_hub_download

    repository = network.hub.get("hf_hub_id")
    if not repository:
        raise LookupError("timm lists no weights for it on the hub")
    _say_download(network.resolved, repository, say)
    name = network.hub.get("hf_hub_filename") or "model.safetensors"
    return hf_hub_download(repository, filename=name)


def _download_torchvision(network: Network, say: Callable[[str], None]) -> str:
    """torchvision's own file, in the cache of torch.hub; its name ends with the beginning of its sha256."""
    url = str(network.hub["url"])
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        say(f"downloading the weights of {network.resolved} ({url})")
        make_folder(path.parent)
        torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=False)
    return str(path)


def _say_download(model: str, repository: str, say: Callable[[str], None]) -> None:
    """Note that the hub is contacted, unless the file is cached: it may take a while, or several tries."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cached = Path(HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "snapshots")
    if not any(cached.glob("*/*")):
        say(f"downloading the weights of {model} from the hub ({repository})")


def load_weights(network: Opened, weights: WeightsFile, device: torch.device) -> Opened:
    """The network with its weights loaded strictly, in float32 on the device.

    Raises DataError if the file cannot be read safely, or does not fit: missing, unexpected and misshapen keys are
    named. A classifier head is not used and need not fit.
    """
    if weights.path is None:
        pass
    elif network.id.source == "open_clip":
        load_open_clip(network.module, weights.path)
    else:
        state = {
            key: value
            for key, value in network.adapt(read_state(weights.path)).items()
            if key.rpartition(".")[0] not in network.classifier
        }
        require_fit(network.module.state_dict(), state, weights.path)
        network.module.load_state_dict(state, strict=True)
    network.module.float().eval().requires_grad_(False).to(device)
    return network
