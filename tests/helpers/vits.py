"""Small vision transformers in timm's own folder format, with every parameter random."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from alignedcut_cli.backbones.load import Backbone
from alignedcut_cli.backbones.registry import ModelId

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}


def timm_folder(folder: Path, architecture: str, **arguments: object) -> ModelId:
    """A timm model with these constructor arguments, as a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.3, 0.4],
            "interpolation": "bilinear",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return ModelId(folder.name, "local", str(folder))


def local_model(folder: Path, architecture: str, **arguments: object) -> ModelId:
    """A small plain vision transformer of timm, as a folder."""
    return timm_folder(folder, architecture, **{**SMALL, **arguments})


def randomised(backbone: Backbone) -> Backbone:
    """The backbone with every parameter random, so that no term of a block vanishes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return backbone


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
