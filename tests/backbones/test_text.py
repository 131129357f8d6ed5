"""Language models: the mean over a caption's own tokens at every layer, whatever else is in the batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alignedcut_cli.backbones.text import Language, find_text_files, load_language, parse_language
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from tests.helpers.languages import tiny_language
from tests.helpers.open_clips import open_clip_model

pytest.importorskip("transformers", reason="needs the extra `text`")

CAPTIONS = ["a small red ball", "a face", "the large ball at the left before a small red face"]
CPU = torch.device("cpu")


def quiet(_: str) -> None:
    pass


def loaded(text: str, weights: Path | None = None) -> Language:
    return load_language(find_text_files(parse_language(text), weights, 0, quiet), 0, CPU)


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language(tmp_path_factory.mktemp("language") / request.param, request.param)


def test_every_layer_is_the_mean_of_its_hidden_state(folder: Path) -> None:
    import transformers

    language = loaded(f"local-dir:{folder}")
    assert language.names == ("hidden_states.0", "hidden_states.1", "hidden_states.2")
    found = language.means(CAPTIONS)
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for row, caption in enumerate(CAPTIONS):
        with torch.no_grad():
            states = model(**tokenizer([caption], return_tensors="pt"), output_hidden_states=True).hidden_states
        for layer, state in enumerate(states):
            torch.testing.assert_close(found[layer][row], state[0].mean(0), rtol=1e-4, atol=1e-5)
            assert state.shape[1] == language.count(caption)


def test_other_captions_and_their_order_change_nothing(folder: Path) -> None:
    language = loaded(f"local-dir:{folder}")
    for together, turned in zip(language.means(CAPTIONS), language.means(CAPTIONS[::-1]), strict=True):
        torch.testing.assert_close(together, turned.flip(0), rtol=1e-4, atol=1e-5)
    for together, alone in zip(language.means(CAPTIONS), language.means(CAPTIONS[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_long_captions_are_cut_at_what_the_model_takes(tmp_path: Path) -> None:
    for kind in ("bert", "gpt2"):
        language = loaded(f"local-dir:{tiny_language(tmp_path / kind, kind, positions=8)}")
        assert language.longest == 8
        long = " ".join(["ball"] * 50)
        assert language.count(long) > 8
        assert language.means([long])[0].shape == (1, 16)


def test_random_weights_are_those_of_the_seed(folder: Path) -> None:
    found = find_text_files(parse_language(f"local-dir:{folder}"), Path("random"), 0, quiet)
    one, same, other = (load_language(found, seed, CPU).means(CAPTIONS)[2] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_folders_that_hold_no_whole_model_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(InputMissingError, match=r"holds no config\.json"):
        parse_language(f"local-dir:{tmp_path}")
    folder = tiny_language(tmp_path / "bert", "bert")
    state = load_file(folder / "model.safetensors")
    lost = next(key for key in state if "layer.1" in key)
    save_file(
        {key: value for key, value in state.items() if key != lost}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(DataError, match="lack 1 tensors"):
        loaded(f"local-dir:{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputMissingError, match=r"holds no \.safetensors"):
        loaded(f"local-dir:{folder}")
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    with pytest.raises(DataError, match="cannot be read as a language model"):
        loaded(f"local-dir:{folder}", Path("random"))


@pytest.mark.parametrize("text", ["tiny-clip", "vit_tiny_patch16_224", "hf:", "hf:../x", "torchvision:alexnet"])
def test_models_that_read_no_captions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="reads no captions"):
        parse_language(text)


def test_a_text_tower_of_open_clip_is_read_block_by_block(tmp_path: Path) -> None:
    import open_clip

    model = open_clip_model(
        tmp_path, text={"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    )
    found = find_text_files(parse_language(model.label), Path("random"), 0, quiet)
    language = load_language(found, 0, CPU)
    names = ("embeddings", "transformer.resblocks.0", "transformer.resblocks.1", "encode_text")
    assert language.names == names
    means = language.means(CAPTIONS)
    network: Any = found.network
    tokens = open_clip.get_tokenizer(model.target)(CAPTIONS)
    with torch.no_grad():
        embedded = network.module.token_embedding(tokens) + network.module.positional_embedding
        torch.testing.assert_close(means[3], network.module.encode_text(tokens))
    lengths = [language.count(caption) for caption in CAPTIONS]
    assert lengths == [6, 4, 13]
    for row, length in enumerate(lengths):
        torch.testing.assert_close(means[0][row], embedded[row, :length].mean(0))
    torch.testing.assert_close(means[2][:1], language.means(CAPTIONS[:1])[2], rtol=1e-4, atol=1e-5)


@pytest.mark.real
def test_minilm_says_what_it_is_known_to_say(real: Path) -> None:
    """The known values of all-MiniLM-L6-v2: mean over tokens, then unit length, is the sentence."""
    language = loaded(f"local-dir:{real / 'text' / 'minilm_l6_v2'}")
    captions = [
        "This is an example sentence", "A dog runs on the grass", "A puppy plays in a field", "The stock market fell today",
    ]  # fmt: skip
    found = language.means(captions)
    assert len(found) == 7
    unit = np.stack([row / np.linalg.norm(row) for row in found[-1].double().numpy()])
    np.testing.assert_allclose(unit[0, :3], [0.067657, 0.063496, 0.048713], atol=7e-5)
    likeness = unit @ unit.T
    assert likeness[1, 2] > 0.4
    assert abs(likeness[3, :3]).max() < 0.15
