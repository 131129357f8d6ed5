"""Building any image model of timm, open_clip or torchvision, and its preprocessing."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from alignedcut_cli.backbones.libraries import import_libraries
from alignedcut_cli.backbones.open_clip_tags import agreed_expectation, list_tags, tell_expectation
from alignedcut_cli.backbones.preprocess import Preprocess, preprocess_from
from alignedcut_cli.backbones.registry import SHORT_NAMES, ModelId
from alignedcut_cli.core.numerics import is_out_of_memory
from alignedcut_cli.datasets.samples import sample_models
from alignedcut_cli.errors import DataError, OutOfMemoryError, UnavailableError, UsageError, first_line

__all__ = ["Network", "activation_of", "bad_size", "build_network", "create_timm", "no_unet_tap", "seeded"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A model that takes images.

    `resolved` is its full name with the tag of its weights; `forward` takes images (B, 3, size, size). `adapt` converts
    the library's checkpoints, `classifier` names the layers of the head that is left out, `hub` is the source of its
    weights. `notes` say what was assumed where the name is ambiguous.
    """

    id: ModelId
    resolved: str
    module: nn.Module
    forward: Callable[[Tensor], Any]
    preprocess: Preprocess
    classifier: tuple[str, ...]
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    hub: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def build_network(model: ModelId, image_size: int | None, seed: int | None = None) -> Network:
    """The model with random weights, by `seed` if given, on the CPU, ready for `load_weights`.

    Raises UsageError for an unknown name or unsupported image size, UnavailableError for a U-Net.
    """
    if model.source == "diffusers":
        raise no_unet_tap(model.label)
    import_libraries()
    build = {"open_clip": _build_open_clip, "torchvision": _build_torchvision}.get(model.source, _build_timm)
    with seeded(seed):
        network = build(model, image_size or model.image_size)
    return replace(network, notes=_notes(network))


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Within the context, torch's CPU random state is that of `seed`; afterwards it is restored."""
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def activation_of(module: nn.Module) -> str:
    """The nonlinearity of the first MLP in a module, by its class: GELU, QuickGELU, SiLU, ...; else `unknown`."""
    for name, part in module.named_modules():
        if name.rpartition(".")[2] in ("act", "gelu", "mlp_act"):
            return type(part).__name__ + ("Tanh" if getattr(part, "approximate", "none") == "tanh" else "")
    return "unknown"


def _notes(network: Network) -> tuple[str, ...]:
    """Notes on what was assumed where a model's name is ambiguous."""
    model, resolved = network.id, network.resolved
    if model.source == "open_clip" and "/" not in model.target:
        visual: Any = network.module.visual
        return (tell_expectation(model.target, network.preprocess, activation_of(visual)),)
    if model.source == "timm" and model.target.split(".")[0] != resolved.split(".")[0]:
        return (f"{model.target} is timm's old name of {resolved}",)
    return ()


def _build_timm(model: ModelId, size: int | None) -> Network:
    import timm

    name = f"local-dir:{model.target}" if model.source == "local" else model.target
    if model.source == "timm" and not timm.is_model(name.split(".")[0]):
        raise _unknown(model.label, [*timm.list_models(), *timm.list_pretrained()])
    try:
        module = create_timm(name, size)
    except RuntimeError as error:
        if "pretrained tag" in str(error):
            raise _unknown(model.label, timm.list_pretrained(f"{name.split('.')[0]}.*")) from None
        if is_out_of_memory(error):
            told = f"{model.label} is larger than the memory ({first_line(error)})"
            raise OutOfMemoryError("out-of-memory", told, "Give a smaller model") from None
        raise _not_built(model.label, size, error) from None
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _not_built(model.label, size, error) from None
    config: Any = module.pretrained_cfg
    tag = f".{config['tag']}" if config.get("tag") and model.source == "timm" else ""
    resolved = f"{config.get('architecture', model.target)}{tag}" if model.source == "timm" else model.label
    return Network(
        id=model,
        resolved=resolved,
        module=module,
        forward=module,
        hub=dict(config),
        **_timm_parts(model, module, module, size),
    )


def create_timm(name: str, size: int | None) -> nn.Module:
    """A timm model without its classifier. Convolutional ones take any image size."""
    import timm

    if size:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, img_size=size).eval()
        except TypeError as error:
            if "img_size" not in str(error):
                raise
    return timm.create_model(name, pretrained=False, num_classes=0).eval()


def _timm_parts(model: ModelId, tower: Any, loaded: nn.Module, size: int | None) -> dict[str, Any]:
    """The input, head and checkpoints of a timm model, by its configuration."""
    config = tower.pretrained_cfg
    classifier = config.get("classifier") or ()
    side = _input_side(tower, size, config)
    if side is None:
        raise DataError("config-incomplete", f"the configuration of {model.label} states no input_size", "Add it")
    return {
        "preprocess": preprocess_from(side, config, model.label),
        "classifier": (classifier,) if isinstance(classifier, str) else tuple(classifier),
        "adapt": _timm_filter(loaded),
    }


def _input_side(tower: Any, size: int | None, config: Mapping[str, Any]) -> int | None:
    body = getattr(tower, "encoder", tower)
    embed = getattr(body, "patch_embed", None) or getattr(body, "pixel_embed", None)
    side = getattr(embed, "img_size", None) or size or (config.get("input_size") or (None,))[-1]
    return int(side[0]) if isinstance(side, tuple | list) else side


def _timm_filter(module: nn.Module) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """timm's own checkpoint conversion for a model: renamed keys, resized position embeddings."""
    import sys

    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    return (lambda state: convert(state, module)) if convert else (lambda state: state)


def _build_open_clip(model: ModelId, size: int | None) -> Network:
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
            resolved += "-quickgelu"  # open_clip's own name for this network
    module = open_clip.create_model(arch, pretrained=None, load_weights=False, **options).eval()
    visual: Any = module.visual
    stated = {key: expected[key] for key in ("mean", "std", "interpolation") if key in expected}
    config = {**visual.preprocess_cfg, **stated}
    native = {"classifier": (), "adapt": lambda state: state}
    if hasattr(visual, "trunk"):
        native = _timm_parts(model, visual.trunk, visual.trunk, size)
        resolved, side = model.label, native.pop("preprocess").size
    else:
        side = int(visual.image_size[0] if isinstance(visual.image_size, tuple | list) else visual.image_size)
    return Network(
        id=model,
        resolved=resolved,
        module=module,
        forward=visual,
        preprocess=preprocess_from(side, config, model.label),
        hub=hub,
        **native,
    )


def _build_torchvision(model: ModelId, size: int | None) -> Network:
    """A torchvision image classifier with its head, with the preprocessing of its weights TAG (else its default ones)."""
    from torchvision import models

    name, slash, tag = model.target.partition("/")
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown(model.label, [f"torchvision:{one}" for one in known])
    tags = {one.name: one for one in models.get_model_weights(name)}
    if slash and tag not in tags:
        raise _unknown(model.label, [f"torchvision:{name}/{one}" for one in tags])
    weights: Any = tags[tag] if slash else models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    expected = weights.transforms()
    options: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    try:
        if size and name.startswith("vit_"):
            options["image_size"] = size
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module="torchvision")
            module = models.get_model(name, weights=None, **options).eval()
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _not_built(model.label, size, error) from None
    config = {"mean": expected.mean, "std": expected.std, "interpolation": expected.interpolation.value}
    return Network(
        id=model,
        resolved=f"torchvision:{name}/{weights.name}",
        module=module,
        forward=module,
        preprocess=preprocess_from(size or int(expected.crop_size[0]), config, model.label),
        classifier=(),
        adapt=lambda state: state,
        hub={"url": weights.url},
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
        return bad_size(label, size, reason)
    return DataError("model-not-built", f"timm cannot build {label}: {reason}", "Check the model's config.json")


def bad_size(label: str, size: int | None, reason: str) -> UsageError:
    return UsageError("bad-image-size", f"{label} cannot take {size} px: {reason}", "Give another --image-size")


def no_unet_tap(label: str) -> UnavailableError:
    told = f"{label} is a U-Net, which is read at q, k and v of its self-attention alone"
    return UnavailableError("tap-missing", told, "Give --tap q, --tap k or --tap v")
