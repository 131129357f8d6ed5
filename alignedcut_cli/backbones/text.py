"""Language models: text towers of open_clip and Hugging Face models, as the mean over tokens of each layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alignedcut_cli.backbones.hub import require_package, require_weights, snapshot
from alignedcut_cli.backbones.load import find_weights, load_weights
from alignedcut_cli.backbones.network import Network, build_network, seeded
from alignedcut_cli.backbones.registry import ModelId, parse_model
from alignedcut_cli.errors import DataError, InputMissingError, UnavailableError, UsageError, first_line

__all__ = ["Language", "TextFiles", "find_text_files", "load_language", "parse_language"]

_WANTED = ("config.json", "*.safetensors", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model")
"""The files of a hub model that are downloaded: no code, no pickles."""


@dataclass(frozen=True)
class TextFiles:
    """The files of a language model: a Hugging Face folder, or an open_clip network and its weights (none: random)."""

    model: ModelId
    files: tuple[Path, ...]
    revision: str = ""
    random: bool = False
    network: Network | None = None

    @property
    def folder(self) -> Path:
        return self.files[0].parent


@dataclass(frozen=True)
class Language:
    """A loaded language model: `means` returns each layer's mean over the tokens of each caption, (B, D) float32.

    `names` are those of the layers, the first of which is the token embedding; `kinds` are their classes. `longest` is
    the most tokens that it takes, `count` returns the number in a caption.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    means: Callable[[Sequence[str]], list[Tensor]]
    count: Callable[[str], int]
    longest: int


def parse_language(text: str) -> ModelId:
    """The language model that a name refers to: hf:NAME, local-dir:DIR in Hugging Face's format, or open_clip:ARCH/TAG.

    Raises UsageError for other names, InputMissingError for a folder without config.json.
    """
    source, _, rest = text.partition(":")
    if source == "hf" and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", rest):
        return ModelId(text, "hf", rest)
    if source == "local-dir" and rest:
        if not (Path(rest) / "config.json").is_file():
            told = f"{rest} holds no config.json"
            raise InputMissingError("model-missing", told, "Give a folder in Hugging Face's format")
        return ModelId(Path(rest).resolve().name, "hf-local", rest)
    if source == "open_clip" and rest:
        return parse_model(text)
    raise UsageError(
        "no-text-model", f"--model {text!r} reads no captions", "Give hf:NAME, local-dir:DIR or open_clip:ARCH/TAG"
    )


def find_text_files(model: ModelId, given: Path | None, seed: int, say: Callable[[str], None]) -> TextFiles:
    """The files of a model, downloaded once from the hub; with `--weights random` it stays randomly initialised.

    Raises UnavailableError if the hub cannot be reached or the extra `text` is not installed, UsageError for --weights FILE
    of a Hugging Face model, InputMissingError for a folder without weights.
    """
    if model.source == "open_clip":
        network = build_network(model, None, seed)
        weights = find_weights(network, given, say)
        paths = (weights.path,) if weights.path else ()
        return TextFiles(model, paths, weights.revision, not paths, network)
    require_package("transformers", "models of Hugging Face", "text")
    is_random = given == Path("random")
    if given is not None and not is_random:
        raise UsageError(
            "weights-idle", f"--weights {given} is for other models", f"Give the folder as local-dir:{given}"
        )
    folder, revision = (Path(model.target), "")
    if model.source != "hf-local":
        folder, revision = snapshot(model, _WANTED, ["*/*"], "local-dir:DIR", say)
    files = sorted(path for pattern in _WANTED for path in folder.glob(pattern) if path.is_file())
    if not is_random and not any(path.suffix == ".safetensors" for path in files):
        raise InputMissingError(
            "weights-missing",
            f"{folder} holds no .safetensors",
            "Save the model with save_pretrained; pickles are not read",
        )
    return TextFiles(model, tuple(dict.fromkeys(files)), revision, is_random)


def load_language(found: TextFiles, seed: int, device: torch.device) -> Language:
    """The model with its weights, in float32 on the device. Raises DataError for unreadable or mismatched files."""
    if found.network is not None:
        return _load_open_clip(found, found.network, device)
    return _load_hugging_face(found, seed, device)


def _load_hugging_face(found: TextFiles, seed: int, device: torch.device) -> Language:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(found.folder, **options)
        if found.random:
            config = transformers.AutoConfig.from_pretrained(found.folder, **options)
            with seeded(seed):
                model: Any = transformers.AutoModel.from_config(config)
            info: dict[str, Any] = {}
        else:
            model, info = transformers.AutoModel.from_pretrained(
                found.folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
            )
    except Exception as error:
        told = f"{found.folder} cannot be read as a language model ({first_line(error)})"
        raise DataError(
            "model-unreadable", told, "Give a folder that save_pretrained wrote, with its tokenizer"
        ) from None
    require_weights(info, found.folder, unused="pooler")
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    model = model.float().eval().requires_grad_(False).to(device)
    longest = _longest(model, tokenizer)

    @torch.inference_mode()
    def means(captions: Sequence[str]) -> list[Tensor]:
        ids = tokenizer(list(captions), truncation=True, max_length=longest)["input_ids"]
        width = max(map(len, ids))
        tokens, mask = torch.zeros(2, len(ids), width, dtype=torch.long)
        for row, one in enumerate(ids):
            tokens[row, : len(one)], mask[row, : len(one)] = torch.tensor(one), 1
        given = model(input_ids=tokens.to(device), attention_mask=mask.to(device), output_hidden_states=True)
        return [_token_mean(state, mask.to(device)) for state in given.hidden_states]

    layers = len(means(["a"]))
    names = tuple(f"hidden_states.{number}" for number in range(layers))
    kinds = (f"{type(model).__name__} embeddings", *[f"{type(model).__name__} layer"] * (layers - 1))
    return Language(names, kinds, means, lambda text: len(tokenizer(text)["input_ids"]), longest)


def _longest(model: nn.Module, tokenizer: Any) -> int:
    """The most tokens that a model takes, by its tokenizer and positions. RoBERTa's begin after its padding index."""
    known = [int(tokenizer.model_max_length)]
    for name, part in model.named_modules():
        if isinstance(part, nn.Embedding) and re.search(r"(position_embeddings|wpe|embed_positions)$", name):
            known.append(part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1))
    stated = getattr(model.config, "max_position_embeddings", None)
    return min([*known, stated] if stated and len(known) == 1 else known)


def _token_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over unmasked tokens: (B, D) float32 of (B, L, D) and (B, L) in {0, 1}."""
    weight = mask[..., None].float()
    return ((states.float() * weight).sum(1) / weight.sum(1)).cpu()


def _load_open_clip(found: TextFiles, network: Network, device: torch.device) -> Language:
    import open_clip

    from alignedcut_cli.backbones.load import WeightsFile

    load_weights(network, WeightsFile(found.files[0] if found.files else None), device)
    module: Any = network.module
    text = getattr(module, "text", module)
    tower = getattr(text, "transformer", None)
    if tower is None or not hasattr(tower, "resblocks"):
        raise UnavailableError(
            "no-text-model", f"{network.id.label} has no text tower of open_clip's own", "Give another --model"
        )
    try:
        tokenizer: Any = open_clip.get_tokenizer(network.id.target.partition("/")[0])
    except Exception as error:
        told = f"the tokenizer of {network.id.label} is not on this disk and cannot be downloaded ({first_line(error)})"
        raise UnavailableError("weights-unavailable", told, "Download it elsewhere, or give another --model") from None
    prefix = ("text." if text is not module else "") + "transformer.resblocks"
    names = ("embeddings", *(f"{prefix}.{number}" for number in range(len(tower.resblocks))), "encode_text")
    kinds = ("Embedding", *(type(block).__name__ for block in tower.resblocks), type(text).__name__)

    @torch.inference_mode()
    def means(captions: Sequence[str]) -> list[Tensor]:
        tokens = tokenizer(list(captions)).to(device)
        mask = _clip_mask(tokenizer, tokens)
        states: list[Tensor] = []
        with ExitStack() as hooks:
            first = tower.resblocks[0].register_forward_pre_hook(lambda _module, inputs: states.append(inputs[0]))
            hooks.callback(first.remove)
            for block in tower.resblocks:
                handle = block.register_forward_hook(lambda _module, _inputs, output: states.append(output))
                hooks.callback(handle.remove)
            features = module.encode_text(tokens)
        rows = [one if getattr(tower, "batch_first", True) else one.transpose(0, 1) for one in states]
        pooled = features[0] if isinstance(features, tuple) else features
        return [*(_token_mean(one[:, : tokens.shape[1]], mask) for one in rows), pooled.float().cpu()]

    longest = int(getattr(tokenizer, "context_length", 77))
    return Language(names, kinds, means, lambda text: int(_clip_mask(tokenizer, tokenizer([text])).sum()), longest)


def _clip_mask(tokenizer: Any, tokens: Tensor) -> Tensor:
    """1 for tokens of the caption, start and end included, 0 for padding: (B, L)."""
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is not None:
        mask = (tokens != inner.pad_token_id).long()
        mask[:, 0] = 1
        return mask
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return (places <= tokens.argmax(1, keepdim=True)).long()
