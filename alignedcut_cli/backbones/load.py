"""Open a vision transformer: build it, load its weights strictly, and describe the layout of its tokens."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alignedcut_cli.backbones.checkpoint import load_open_clip, read_state, require_fit
from alignedcut_cli.backbones.column import read_column
from alignedcut_cli.backbones.libraries import import_libraries
from alignedcut_cli.backbones.open_clip_tags import agreed_expectation, list_tags, tell_expectation
from alignedcut_cli.backbones.preprocess import Preprocess, preprocess_from
from alignedcut_cli.backbones.registry import SHORT_NAMES, ModelId
from alignedcut_cli.backbones.taps import attention_heads, patch_tokens, read_taps
from alignedcut_cli.core.numerics import is_out_of_memory
from alignedcut_cli.datasets.samples import sample_models
from alignedcut_cli.errors import (
    DataError,
    InputMissingError,
    OutOfMemoryError,
    UnavailableError,
    UsageError,
    first_line,
)

__all__ = ["Backbone", "WeightsFile", "build_backbone", "find_weights", "load_weights"]


@dataclass(frozen=True)
class Backbone:
    """A vision transformer whose taps can be read.

    `resolved` is its full name with the tag of its weights, `grid` the (rows, columns) of its patches, `prefix` the
    number of tokens before them, of which the class token (if it has one) is the first and registers are the rest.
    Where the class token joins after the first blocks, `class_token` is false and `prefix` counts it.
    `notes` say what was assumed where the name is ambiguous.
    """

    id: ModelId
    resolved: str
    module: nn.Module
    forward: Callable[[Tensor], Any]
    blocks: Sequence[nn.Module]
    grid: tuple[int, int]
    class_token: bool
    prefix: int
    preprocess: Preprocess
    classifier: tuple[str, ...]
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    hub: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def activation(self) -> str:
        """The nonlinearity of the first block's MLP, by its class: GELU, QuickGELU, SiLU, ...; else `unknown`."""
        for name, part in self.blocks[0].named_modules():
            if name.rpartition(".")[2] in ("act", "gelu", "mlp_act"):
                return type(part).__name__ + ("Tanh" if getattr(part, "approximate", "none") == "tanh" else "")
        return "unknown"

    @property
    def tokens(self) -> int:
        """P: the class token, if there is one, and the patches."""
        return self.grid[0] * self.grid[1] + self.class_token

    def features(self, images: Tensor, layers: Sequence[int], tap: str) -> list[Tensor]:
        """The tapped features of a batch (B, 3, size, size): each layer's (B, P, D), class token first, no registers."""
        return self.tap_features(images, layers, (tap,))[tap]

    def tap_features(self, images: Tensor, layers: Sequence[int], taps: Sequence[str]) -> dict[str, list[Tensor]]:
        """The `features` of several taps from one forward pass."""
        found = read_taps(self.forward, self.blocks, layers, taps, images, self.grid)
        for tap, read in found.items():
            for layer, feature in zip(layers, read, strict=True):
                self._require_tokens(feature, layer, tap)
        patches = self.grid[0] * self.grid[1]
        return {
            tap: [patch_tokens(feature, self.class_token, feature.shape[1] - patches) for feature in read]
            for tap, read in found.items()
        }

    def heads(self, layer: int) -> dict[str, Any]:
        """`heads` and `scale` of a layer's attention, as far as they are known: what tells heads apart in q, k and v."""
        known = attention_heads(self.blocks[layer])
        told = dict(zip(("heads", "scale"), known or (), strict=False))
        return {key: value for key, value in told.items() if value is not None}

    def _require_tokens(self, feature: Tensor, layer: int, tap: str) -> None:
        patches = self.grid[0] * self.grid[1]
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

        Raises UnavailableError for a missing tap, or if the model cannot see images of its size.
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
    """A weights file on this disk, and its revision on the hub (empty for a file of the user's)."""

    path: Path
    revision: str = ""


def build_backbone(model: ModelId, image_size: int | None) -> Backbone:
    """The model with random weights, on the CPU, ready for `load_weights`.

    Raises UsageError for an unknown name or an image size that the model cannot take, UnavailableError if it is no
    vision transformer whose blocks can be tapped.
    """
    import_libraries()
    build = _build_open_clip if model.source == "open_clip" else _build_timm
    backbone = build(model, image_size or model.image_size)
    if any(not patches or backbone.preprocess.size % patches for patches in backbone.grid):
        told = f"its patches do not tile it ({backbone.grid[0]} x {backbone.grid[1]})"
        raise _bad_size(model.label, backbone.preprocess.size, told)
    return replace(backbone, notes=_notes(backbone))


def _notes(backbone: Backbone) -> tuple[str, ...]:
    """Notes on what was assumed where a model's name is ambiguous."""
    model, resolved = backbone.id, backbone.resolved
    if model.source == "open_clip" and "/" not in model.target:
        return (tell_expectation(model.target, backbone.preprocess, backbone.activation),)
    if model.source == "timm" and model.target.split(".")[0] != resolved.split(".")[0]:
        return (f"{model.target} is timm's old name of {resolved}",)
    return ()


def _build_timm(model: ModelId, size: int | None) -> Backbone:
    import timm

    name = f"local-dir:{model.target}" if model.source == "local" else model.target
    if model.source == "timm" and not timm.is_model(name.split(".")[0]):
        raise _unknown(model.label, [*timm.list_models(), *timm.list_pretrained()])
    arguments: dict[str, Any] = {"num_classes": 0, **({"img_size": size} if size else {})}
    try:
        module = timm.create_model(name, pretrained=False, **arguments).eval()
    except RuntimeError as error:
        if "pretrained tag" in str(error):
            raise _unknown(model.label, timm.list_pretrained(f"{name.split('.')[0]}.*")) from None
        if is_out_of_memory(error):
            told = f"{model.label} is larger than the memory ({first_line(error)})"
            raise OutOfMemoryError("out-of-memory", told, "Give a smaller model") from None
        raise _not_built(model.label, size, error) from None
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _not_built(model.label, size, error) from None
    return _from_timm(model, module, module, module, size)


def _from_timm(model: ModelId, module: nn.Module, tower: Any, loaded: nn.Module, size: int | None) -> Backbone:
    config = tower.pretrained_cfg
    column = read_column(model.label, tower, size, config)
    tag = f".{config['tag']}" if config.get("tag") and model.source == "timm" else ""
    classifier = config.get("classifier") or ()
    return Backbone(
        id=model,
        resolved=f"{config.get('architecture', model.target)}{tag}" if model.source == "timm" else model.label,
        module=module,
        forward=tower.forward_features,
        blocks=column.blocks,
        grid=column.grid,
        class_token=column.class_token,
        prefix=column.prefix,
        preprocess=preprocess_from(column.size, config, model.label),
        classifier=(classifier,) if isinstance(classifier, str) else tuple(classifier),
        adapt=_timm_filter(loaded),
        hub=dict(config),
    )


def _timm_filter(module: nn.Module) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """timm's own checkpoint conversion for a model: renamed keys, resized position embeddings."""
    import sys

    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    return (lambda state: convert(state, module)) if convert else (lambda state: state)


def _build_open_clip(model: ModelId, size: int | None) -> Backbone:
    import open_clip

    arch, slash, tag = model.target.partition("/")
    if arch not in open_clip.list_models():
        raise _unknown(model.label, [f"open_clip:{known}" for known in open_clip.list_models()])
    hub = open_clip.get_pretrained_cfg(arch, tag) if slash else {}
    if slash and not hub:
        raise _unknown(model.label, [f"open_clip:{arch}/{known}" for known in list_tags(arch)])
    architecture = open_clip.get_model_config(arch) or {}
    expected = hub or agreed_expectation(arch, architecture)
    options: dict[str, Any] = {"force_image_size": size} if size else {}
    resolved = model.target
    if expected.get("quick_gelu"):
        options["force_quick_gelu"] = True
        if not slash and not architecture.get("quick_gelu"):
            resolved += "-quickgelu"  # open_clip's own name of this network
    module = open_clip.create_model(arch, pretrained=None, load_weights=False, **options).eval()
    visual: Any = module.visual
    stated = {key: expected[key] for key in ("mean", "std", "interpolation") if key in expected}
    config = {**visual.preprocess_cfg, **stated}
    if hasattr(visual, "trunk"):
        inner = _from_timm(model, module, visual.trunk, visual.trunk, size)
        size = inner.preprocess.size
        return Backbone(**{**vars(inner), "preprocess": preprocess_from(size, config, model.label), "hub": hub})
    if not hasattr(visual, "transformer") or not hasattr(visual.transformer, "resblocks"):
        raise UnavailableError("not-a-vit", f"{model.label} has no vision transformer", "See alignedcut models")
    return Backbone(
        id=model,
        resolved=resolved,
        module=module,
        forward=visual,
        blocks=list(visual.transformer.resblocks),
        grid=tuple(visual.grid_size),
        class_token=True,
        prefix=1,
        preprocess=preprocess_from(int(visual.image_size[0]), config, model.label),
        classifier=(),
        adapt=lambda state: state,
        hub=hub,
    )


def _unknown(label: str, known: Sequence[str]) -> UsageError:
    """The error for an unknown name, with similar names: short and shipped ones first."""
    own = difflib.get_close_matches(label.lower(), [*SHORT_NAMES, *sample_models()])
    near = [*own, *difflib.get_close_matches(label, known)][:3]
    meant = f"Did you mean {', '.join(near)}? " if near else ""
    return UsageError("unknown-model", f"there is no model {label!r}", f"{meant}See alignedcut models --filter TEXT")


def _not_built(label: str, size: int | None, error: Exception) -> UsageError | DataError:
    reason = first_line(error)
    if size is not None:
        return _bad_size(label, size, reason)
    return DataError("model-not-built", f"timm cannot build {label}: {reason}", "Check the model's config.json")


def _bad_size(label: str, size: int | None, reason: str) -> UsageError:
    return UsageError("bad-image-size", f"{label} cannot take {size} px: {reason}", "Give another --image-size")


def find_weights(backbone: Backbone, given: Path | None, say: Callable[[str], None] = lambda _: None) -> WeightsFile:
    """The file that holds a model's weights: the user's, the one beside a local model, or the hub's, downloaded once.

    Raises InputMissingError for a file that is not there, UnavailableError (exit 69) if the hub cannot be reached.
    """
    if given is not None:
        if not given.is_file():
            raise InputMissingError("weights-missing", f"--weights {given} does not exist", "Check the path")
        return WeightsFile(given)
    if backbone.id.source == "local":
        return WeightsFile(_local_weights(Path(backbone.id.target)))
    try:
        path = Path(_download(backbone, say))
    except Exception as error:
        reason = first_line(error)
        raise UnavailableError(
            "weights-unavailable",
            f"the weights of {backbone.resolved} are not on this disk and cannot be downloaded ({reason})",
            "Download them elsewhere and give them with --weights FILE",
        ) from None
    revision = re.search(r"/snapshots/([0-9a-f]{40})/", path.as_posix())
    return WeightsFile(path, revision[1] if revision else "")


def _local_weights(folder: Path) -> Path:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise InputMissingError("weights-missing", f"{folder} holds no model.safetensors", "Give --weights FILE")
    return path


def _download(backbone: Backbone, say: Callable[[str], None]) -> str:
    if backbone.id.source == "open_clip":
        import open_clip

        if not backbone.hub:
            tags = ", ".join(list_tags(backbone.id.target)) or "open_clip publishes none"
            raise LookupError(f"no /TAG was given: {tags}")
        _say_download(backbone.resolved, "/".join(backbone.hub.get("hf_hub", "").split("/")[:2]), say)
        return str(open_clip.download_pretrained(dict(backbone.hub)))
    from huggingface_hub import hf_hub_download

    repository = backbone.hub.get("hf_hub_id")
    if not repository:
        raise LookupError("timm lists no weights for it on the hub")
    _say_download(backbone.resolved, repository, say)
    name = backbone.hub.get("hf_hub_filename") or "model.safetensors"
    return hf_hub_download(repository, filename=name)


def _say_download(model: str, repository: str, say: Callable[[str], None]) -> None:
    """Note that the hub is contacted, unless the file is cached: it may take a while, or several tries."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cached = Path(HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "snapshots")
    if not any(cached.glob("*/*")):
        say(f"downloading the weights of {model} from the hub ({repository})")


def load_weights(backbone: Backbone, weights: WeightsFile, device: torch.device) -> Backbone:
    """The backbone with its weights loaded strictly, in float32 on the device.

    Raises DataError if the file cannot be read safely, or does not fit: missing, unexpected and misshapen keys are
    named. A classifier head is not used and need not fit.
    """
    if backbone.id.source == "open_clip":
        load_open_clip(backbone.module, weights.path)
    else:
        state = {
            key: value
            for key, value in backbone.adapt(read_state(weights.path)).items()
            if key.rpartition(".")[0] not in backbone.classifier
        }
        require_fit(backbone.module.state_dict(), state, weights.path)
        backbone.module.load_state_dict(state, strict=True)
    backbone.module.float().eval().requires_grad_(False).to(device)
    return backbone
