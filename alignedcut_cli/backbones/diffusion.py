"""Diffusion U-Nets: their self-attention in one denoising step of a photograph, without a prompt."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alignedcut_cli.backbones.hub import require_package, require_weights, snapshot
from alignedcut_cli.backbones.load import Backbone, WeightsFile
from alignedcut_cli.backbones.network import bad_size
from alignedcut_cli.backbones.preprocess import Preprocess
from alignedcut_cli.backbones.registry import ModelId
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.errors import DataError, InputMissingError, UnavailableError, UsageError, first_line

__all__ = ["NOISE_STEP", "UNet", "build_unet", "find_pipeline"]

NOISE_STEP = 261
_STEM = "diffusion_pytorch_model"
_CONFIGS = {
    "unet/config.json": "UNet2DConditionModel",
    "vae/config.json": "AutoencoderKL",
    "scheduler/scheduler_config.json": "",
}
"""The required parts of a pipeline, and their classes."""
_STEMS = {"unet": _STEM, "vae": _STEM, "text_encoder": "model"}
_WANTED = (
    *_CONFIGS, "text_encoder/config.json", "tokenizer/*",
    *(f"{part}/{stem}{rest}" for part, stem in _STEMS.items()
      for rest in (".safetensors", "-*-of-*.safetensors", ".safetensors.index.json")),
)  # fmt: skip
"""The files of a hub pipeline that are downloaded: no code, no pickles."""
_MORE = ("addition_embed_type", "class_embed_type", "num_class_embeds")
"""Configuration keys of inputs besides image, step and prompt."""


@dataclass(frozen=True, kw_only=True)
class UNet(Backbone):
    """The self-attention of a U-Net, in the order of its calls. Its `module` takes images and predicts their noise.

    `grids` and `names` are those of the blocks in the U-Net; `folder` is the pipeline's. Until its weights are loaded the
    module is on torch's device `meta`.
    """

    folder: Path
    names: tuple[str, ...]
    grids: tuple[tuple[int, int], ...]
    noise_step: int
    seed: int

    @property
    def choices(self) -> dict[str, Any]:
        prompt = "empty" if _has_prompt(self.folder) else "zeros"
        return {"noise_step": self.noise_step, "prompt": prompt, "seed": self.seed}

    def grid_of(self, layer: int) -> tuple[int, int]:
        return self.grids[layer]

    def widths(self, layers: Sequence[int], tap: str) -> list[int]:
        """D of each layer's tap, from its projection."""
        attentions: list[Any] = [self.blocks[layer].get_submodule("attn1") for layer in layers]
        return [one.get_submodule(f"to_{tap}").out_features for one in attentions]

    def load(self, weights: WeightsFile, device: torch.device) -> UNet:
        """The U-Net with its VAE and prompt, in float32 on the device.

        Raises DataError for files that cannot be read or do not match each other.
        """
        diffusers = _library()
        unet, vae = (
            _from_folder(kind, self.folder / part, torch_dtype=torch.float32, low_cpu_mem_usage=False)
            for kind, part in ((diffusers.UNet2DConditionModel, "unet"), (diffusers.AutoencoderKL, "vae"))
        )
        prompt = _empty_prompt(self.folder)
        if prompt is None:
            prompt = torch.zeros(1, 1, _prompt_width(unet))
        elif prompt.shape[-1] != _prompt_width(unet):
            told = f"the text encoder in {self.folder} gives {prompt.shape[-1]} channels, its U-Net takes"
            raise DataError("weights-mismatch", f"{told} {_prompt_width(unet)}", "Give a pipeline as it was saved")
        kept = _kept_variance(self.folder)[self.noise_step]
        module = _Denoiser(unet, vae, prompt, kept, self.noise_step, self.seed)
        module.float().eval().requires_grad_(False).to(device)
        blocks = [unet.get_submodule(name) for name in self.names]
        return replace(self, module=module, forward=module, blocks=blocks)


class _Denoiser(nn.Module):
    """The noise that a U-Net predicts for images (B, 3, s, s) in [-1, 1] at one step.

    x = sqrt(a) z + sqrt(1 - a) e: z is the mean of the VAE's latent distribution, shifted and scaled by its configuration,
    a the schedule's cumulative alpha, e the noise of each image, seeded by the seed and its pixels.
    """

    def __init__(self, unet: Any, vae: Any, prompt: Tensor, kept: float, step: int, seed: int) -> None:
        super().__init__()
        self.unet, self.vae, self.step, self.seed = unet, vae, step, seed
        self.signal, self.noise = math.sqrt(kept), math.sqrt(1 - kept)
        self.register_buffer("prompt", prompt)

    def forward(self, images: Tensor) -> Tensor:
        config = self.vae.config
        mean = self.vae.encode(images).latent_dist.mean  # (B, C, h, w)
        latents = (mean - (getattr(config, "shift_factor", None) or 0)) * config.scaling_factor
        pixels = ((images + 1) * 127.5).round().to(torch.uint8).cpu()  # as before normalisation
        drawn = torch.stack([_noise_of(one, self.seed, latents.shape[1:]) for one in pixels]).to(images.device)
        noisy = self.signal * latents + self.noise * drawn
        prompt = self.get_buffer("prompt").expand(len(images), -1, -1)
        return self.unet(noisy, self.step, encoder_hidden_states=prompt, return_dict=False)[0]


def _noise_of(pixels: Tensor, seed: int, shape: Sequence[int]) -> Tensor:
    """Normal noise of one image (3, s, s) uint8, independent of its position in a batch: float32 of `shape`."""
    name = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
    return torch.randn(*shape, generator=torch.Generator().manual_seed(stream(seed, "noise", name)))


def find_pipeline(model: ModelId, say: Callable[[str], None]) -> tuple[Path, WeightsFile]:
    """The folder of a pipeline, downloaded once if it is on the hub, and its weights files.

    Raises UnavailableError if diffusers or transformers is not installed, the hub cannot be reached, or the pipeline has
    another kind of network, InputMissingError if a part is missing or its weights are pickles.
    """
    require_package("diffusers", "U-Nets", "diffusion")
    folder, revision = Path(model.target), ""
    if not folder.is_dir():
        folder, revision = snapshot(model, _WANTED, (), "diffusers:DIR", say)
    for name, kind in _CONFIGS.items():
        if not (folder / name).is_file():
            told = f"{folder} is no pipeline of diffusers: it holds no {name}"
            raise InputMissingError("model-missing", told, "Give a folder that a pipeline was saved in")
        found = _config(folder / name).get("_class_name")
        if kind and found != kind:
            told = f"{folder / name} is of {found}, not of a {kind}"
            raise UnavailableError("not-a-unet", told, "Give a pipeline such as that of Stable Diffusion 1 or 2")
    if _has_prompt(folder):
        require_package("transformers", "text encoders", "diffusion")
    weights = [path for part in _parts(folder) for path in _weights(folder / part, _STEMS[part])]
    others = {path for pattern in _WANTED for path in folder.glob(pattern) if path.is_file()} - set(weights)
    return folder, WeightsFile(weights[0], revision, (*weights[1:], *sorted(others)))


def _has_prompt(folder: Path) -> bool:
    return (folder / "text_encoder").is_dir()


def _parts(folder: Path) -> list[str]:
    return ["unet", "vae", *(["text_encoder"] if _has_prompt(folder) else [])]


def _weights(folder: Path, stem: str) -> list[Path]:
    """The weights of one part: one file, or those that an index names."""
    index, whole = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
    found = [whole]
    if index.is_file():
        names = _config(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise _unreadable(index, "it has no weight_map")
        found = [folder / str(name) for name in sorted(set(map(str, names.values())))]
    if lost := [
        path for path in found if not (path.suffix == ".safetensors" and path.parent == folder and path.is_file())
    ]:
        told = f"{folder} holds no {lost[0].name}, or none that is safetensors"
        raise InputMissingError("weights-missing", told, "Save it with save_pretrained; pickles are not read")
    return found


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    if not isinstance(found, dict):
        raise _unreadable(path, "it is no table")
    return found


def _unreadable(path: Path, error: Exception | str) -> DataError:
    reason = error if isinstance(error, str) else first_line(error)
    told = f"{path} cannot be read as a part of a pipeline ({reason})"
    return DataError("model-unreadable", told, "Give a folder that a pipeline was saved in")


def build_unet(model: ModelId, folder: Path, image_size: int | None, noise_step: int | None, seed: int) -> UNet:
    """The U-Net of a pipeline without its weights, for images of `image_size` px or of its own size.

    Raises UsageError for an unsupported size or step, UnavailableError for a U-Net that needs more than an image and
    a prompt, DataError for an unreadable configuration.
    """
    diffusers, step = _library(), NOISE_STEP if noise_step is None else noise_step
    steps = len(_kept_variance(folder))
    if step >= steps:
        told = f"--noise-step {step} is beyond the schedule of {model.label}, which has steps 0 to {steps - 1}"
        raise UsageError("bad-noise-step", told, "Give another --noise-step")
    with torch.device("meta"):
        unet: Any = _from_config(diffusers.UNet2DConditionModel, folder / "unet" / "config.json")
        vae: Any = _from_config(diffusers.AutoencoderKL, folder / "vae" / "config.json")
    side = _side(model, unet, vae, image_size)
    found = _self_attention(model, unet, vae, side)
    names = tuple(found)
    grids = tuple((math.isqrt(tokens), math.isqrt(tokens)) for tokens in found.values())
    module = nn.ModuleList([unet, vae])
    notes = () if _has_prompt(folder) else (f"{model.label} has no text encoder: its prompt is zeros",)
    return UNet(
        id=model, resolved=model.label, module=module, forward=module,
        preprocess=Preprocess(side, (0.5,) * 3, (0.5,) * 3, "lanczos"),
        classifier=(), adapt=dict, hub={}, notes=notes, blocks=[unet.get_submodule(name) for name in names],
        grid=max(grids), class_token=False, prefix=0, folder=folder, names=names, grids=grids, noise_step=step, seed=seed,
    )  # fmt: skip


def _side(model: ModelId, unet: Any, vae: Any, image_size: int | None) -> int:
    """The side of the images in pixels."""
    shrinks, sample = 2 ** (len(vae.config.block_out_channels) - 1), unet.config.sample_size
    if image_size is None and not isinstance(sample, int):
        raise UsageError("bad-image-size", f"{model.label} states no side of its images", "Give --image-size")
    side = image_size or sample * shrinks
    if side % shrinks:
        raise bad_size(model.label, side, f"it is no multiple of {shrinks}")
    return side


def _self_attention(model: ModelId, unet: Any, vae: Any, side: int) -> dict[str, int]:
    """The blocks with self-attention, in the order of their calls, and their numbers of tokens: by a pass on `meta`."""
    from diffusers.models.attention import BasicTransformerBlock

    if more := [f"{key} {unet.config[key]}" for key in _MORE if unet.config.get(key)]:
        told = f"{model.label} takes more than image, step and prompt ({', '.join(more)})"
        raise UnavailableError("not-a-unet", told, "Give a pipeline such as that of Stable Diffusion 1 or 2")
    found: dict[str, int] = {}
    for name, block in unet.named_modules():
        if isinstance(block, BasicTransformerBlock) and not block.only_cross_attention:
            block.attn1.to_q.register_forward_pre_hook(partial(_note_places, found, name))
    device = torch.device("meta")
    try:
        with torch.no_grad():
            latents = vae.encode(torch.zeros(1, 3, side, side, device=device)).latent_dist.mean
            prompt = torch.zeros(1, 1, _prompt_width(unet), device=device)
            unet(latents, torch.zeros(1, device=device), encoder_hidden_states=prompt)
    except Exception as error:
        told = f"{model.label} fails on an image of {side} px and an empty prompt ({first_line(error)})"
        raise UnavailableError("model-fails", told, "Give another --image-size or --model") from None
    if not found or any(math.isqrt(tokens) ** 2 != tokens for tokens in found.values()):
        raise UnavailableError("not-a-unet", f"{model.label} has no self-attention over a grid", "Give another --model")
    return found


def _note_places(found: dict[str, int], name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    found.setdefault(name, inputs[0].shape[1])


def _prompt_width(unet: Any) -> int:
    """The channels of a prompt's tokens."""
    width = unet.config.encoder_hid_dim or unet.config.cross_attention_dim
    return width if isinstance(width, int) else width[0]


def _kept_variance(folder: Path) -> list[float]:
    """The cumulative alphas of a pipeline's noise schedule, in [0, 1], whichever its sampler."""
    path = folder / "scheduler" / "scheduler_config.json"
    config = _config(path)
    if not {"beta_schedule", "trained_betas"} & config.keys():
        raise _unreadable(path, "it states no beta_schedule")
    return _from_config(_library().DDPMScheduler, path).alphas_cumprod.tolist()


def _from_config(kind: Any, path: Path) -> Any:
    config: Mapping[str, Any] = _config(path)
    try:
        return kind.from_config(config)
    except Exception as error:
        raise _unreadable(path, error) from None


def _from_folder(kind: Any, folder: Path, **options: Any) -> Any:
    """A part of a pipeline with all its weights, from safetensors only."""
    try:
        module, info = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    except Exception as error:
        if "Error(s) in loading state_dict" not in str(error):
            raise _unreadable(folder, error) from None
        told = " ".join(str(error).split())[:600]
        remedy = "Give the weights of this very model"
        raise DataError("weights-mismatch", f"{folder} does not fit its config.json: {told}", remedy) from None
    require_weights(info, folder)
    return module


def _empty_prompt(folder: Path) -> Tensor | None:
    """The embedding of the empty prompt by a pipeline's text encoder: (1, L, D) float32; None without a text encoder."""
    if not _has_prompt(folder):
        return None
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    encoder = _from_folder(transformers.CLIPTextModel, folder / "text_encoder", dtype=torch.float32).eval()
    try:
        tokenizer: Any = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        longest = min(int(tokenizer.model_max_length), encoder.config.max_position_embeddings)
        ids = tokenizer([""], padding="max_length", max_length=longest, truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            return encoder(ids)[0]
    except Exception as error:
        raise _unreadable(folder / "tokenizer", error) from None


def _library() -> Any:
    """The package diffusers, imported late and without its log messages."""
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    return diffusers
