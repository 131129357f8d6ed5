"""Small architectures registered with open_clip, with the tags and weights of a test."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from alignedcut_cli.backbones.load import build_backbone
from alignedcut_cli.backbones.registry import ModelId


def open_clip_model(
    folder: Path, *, quick_gelu: bool = True, text: dict[str, int] | None = None, **vision: object
) -> ModelId:
    """A small architecture registered with open_clip."""
    import open_clip

    name = f"tiny-{'-'.join(vision) or 'plain'}{'' if quick_gelu else '-gelu'}{'-text' if text else ''}"
    config = {
        "embed_dim": 16,
        "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8, **vision},
        "text_cfg": text or {"context_length": 8, "vocab_size": 100, "width": 64, "heads": 1, "layers": 1},
    }
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    return ModelId(f"open_clip:{name}", "open_clip", name)


def random_weights(model: ModelId, path: Path) -> Path:
    """Weights of an architecture, large enough that its activation makes a difference."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = build_backbone(model, None).module.state_dict()
    save_file({key: value + 0.1 * torch.randn(value.shape) for key, value in state.items()}, path)
    return path
