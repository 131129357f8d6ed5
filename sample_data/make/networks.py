"""The three tiny vision transformers: their sizes, how tokens go through them, and how they are written to disk."""

import json
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from timm.models import VisionTransformer
from torch import Tensor

__all__ = ["NETWORKS", "assemble", "build", "embed_patches", "run_blocks", "save_network"]

_COMMON = {"img_size": 96, "patch_size": 8, "num_heads": 4, "depth": 6}
NETWORKS = {
    "tiny-clip": {
        "model_args": _COMMON | {"embed_dim": 128},
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
    },
    "tiny-dino": {
        "model_args": _COMMON | {"embed_dim": 96, "num_heads": 3, "reg_tokens": 4, "init_values": 1.0},
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "tiny-mae": {
        "model_args": _COMMON | {"embed_dim": 96},
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
}
_ARCHITECTURE = "vit_tiny_patch16_224"


def build(name: str, seed: int = 0) -> VisionTransformer:
    """The network of this name at random initialisation, float32, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return timm.create_model(_ARCHITECTURE, pretrained=False, num_classes=0, **NETWORKS[name]["model_args"])


def embed_patches(network: VisionTransformer, images: Tensor, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """Patch embeddings with positions, (B, P, D), of normalised images (B, 3, height, width).

    An image smaller than the network's takes the positions of a window whose first patch is at `corner` (row, column).
    """
    rows, columns = (side // network.patch_embed.patch_size[0] for side in images.shape[-2:])
    grid = network.patch_embed.grid_size
    places = network.pos_embed[:, network.num_prefix_tokens :].unflatten(1, grid)  # (1, rows, columns, D)
    window = places[:, corner[0] : corner[0] + rows, corner[1] : corner[1] + columns].flatten(1, 2)
    return network.patch_embed.proj(images).flatten(2).mT + window


def assemble(network: VisionTransformer, patches: Tensor) -> Tensor:
    """Prefix tokens (class token, registers) with their positions before the patches, (B, prefix + P, D)."""
    prefix = [network.cls_token] + ([] if network.reg_token is None else [network.reg_token])
    prefix = torch.cat(prefix, dim=1) + network.pos_embed[:, : network.num_prefix_tokens]
    return torch.cat([prefix.expand(len(patches), -1, -1), patches], dim=1)


def run_blocks(network: VisionTransformer, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The class token (B, D) and the patch tokens (B, P, D) after all blocks and the last norm."""
    tokens = network.norm(network.blocks(network.norm_pre(tokens)))
    return tokens[:, 0], tokens[:, network.num_prefix_tokens :]


def save_network(network: VisionTransformer, name: str, folder: Path) -> None:
    """Write config.json and model.safetensors (float16) of a network, as timm's `local-dir:` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = NETWORKS[name]
    config = {
        "architecture": _ARCHITECTURE,
        "num_classes": 0,
        "num_features": network.num_features,
        "model_args": spec["model_args"],
        "pretrained_cfg": {
            "tag": name,
            "license": "apache-2.0",
            "input_size": [3, 96, 96],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": spec["mean"],
            "std": spec["std"],
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {key: value.detach().to(torch.float16).contiguous() for key, value in network.state_dict().items()}
    partial = folder / "model.safetensors.part"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.rename(folder / "model.safetensors")
