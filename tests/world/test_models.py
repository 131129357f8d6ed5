"""The three tiny networks: they load as timm models and their patches know more than random ones."""

import functools

import pytest
import timm
import torch
from safetensors import safe_open
from torch.nn import functional as F

from sample_data import MODELS
from sample_data.make.networks import NETWORKS, assemble, build, embed_patches, run_blocks
from sample_data.make.probe import compare, mean_iou, patch_labels, probe_scenes

LEAST = {"tiny-clip": 12.0, "tiny-dino": 4.0, "tiny-mae": 4.0}
"""Points of category mIoU over random that a small probe must find; the full one is in sample_data/README.md."""


@functools.cache
def load(name):
    return timm.create_model(f"local-dir:{MODELS / name}", pretrained=True).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_load_strictly(name):
    network = load(name)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters < 1_500_000 and len(network.blocks) >= 6
    assert min(network.patch_embed.grid_size) >= 12
    assert network.num_prefix_tokens == (5 if name == "tiny-dino" else 1)
    config = timm.data.resolve_model_data_config(network)
    assert config["input_size"] == (3, 96, 96) and list(config["mean"]) == NETWORKS[name]["mean"]
    assert (MODELS / name / "training.log").stat().st_size > 0
    with safe_open(MODELS / name / "model.safetensors", "pt") as shipped:
        state = network.state_dict()
        assert set(shipped.keys()) == set(state)
        for key in shipped.keys():  # noqa: SIM118 - a safetensors handle is no dict
            tensor = shipped.get_tensor(key)
            assert tensor.dtype == torch.float16 and torch.equal(tensor.float(), state[key])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_training_path_is_the_network(name):
    network, images = load(name), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        summary, patches = run_blocks(network, assemble(network, embed_patches(network, images)))
        whole = network.forward_features(images)
    assert torch.allclose(whole[:, 0], summary, atol=1e-4)
    assert torch.allclose(whole[:, network.num_prefix_tokens :], patches, atol=1e-4)


def test_a_window_takes_its_own_positions():
    network = build("tiny-dino").eval()
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        whole = embed_patches(network, images).unflatten(1, (12, 12))
        part = embed_patches(network, images[:, :, 16:56, 24:64], (2, 3))
    assert torch.allclose(whole[:, 2:7, 3:8].flatten(1, 2), part, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_patches_know_more_than_random_ones(name):
    scores = compare(name, MODELS / name, scenes=(60, 50), rounds=12)
    assert scores["gain_category"] > LEAST[name]


def test_mean_iou_is_that_of_its_definition():
    guess, truth = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 2])
    assert mean_iou(guess, truth, 3) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)


def test_patch_labels_are_the_commonest_class():
    images, labels = probe_scenes(2)
    assert images.shape == (2, 3, 96, 96) and labels.shape == (288,)
    mask = torch.zeros(16, 16, dtype=torch.uint8)
    mask[:8, 8:] = 3
    mask[8:, :3] = 5
    assert patch_labels(mask.numpy()).tolist() == [0, 3, 0, 0]
    assert F.one_hot(labels, 11).sum() == 288
