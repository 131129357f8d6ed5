"""Tiny diffusion pipelines with random weights, saved by diffusers and transformers, made without a network."""

from __future__ import annotations

import json
from pathlib import Path

import torch

SIDE = 16
LAYERS = (
    "down_blocks.0.attentions.0", "down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.0.attentions.0",
    "up_blocks.0.attentions.1", "up_blocks.1.attentions.0", "up_blocks.1.attentions.1",
)  # fmt: skip
"""The modules with self-attention, in order of execution."""
GRIDS = (8, 4, 4, 4, 4, 8, 8)
PROMPT = 12


def tiny_pipeline(folder: Path, *, text: bool) -> Path:
    """A U-Net of two resolutions for images of SIDE px, its VAE and schedule; with `text` a CLIP text encoder as well."""
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = diffusers.UNet2DConditionModel(
            sample_size=8, block_out_channels=(16, 32), layers_per_block=1, attention_head_dim=2, norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
            cross_attention_dim=PROMPT,
        )  # fmt: skip
        vae = diffusers.AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, scaling_factor=0.7,
        )  # fmt: skip
        schedule = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        for name, part in (("unet", unet), ("vae", vae), ("scheduler", schedule)):
            part.save_pretrained(folder / name)
        if text:
            _save_text_encoder(folder)
    return folder


def _save_text_encoder(folder: Path) -> None:
    import transformers

    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "a": 3}
    config = transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=PROMPT, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=7, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(words))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    options = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 7}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(options))
