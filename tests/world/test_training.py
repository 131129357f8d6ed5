"""The training code: labels stay out of two objectives, views and jitter do what they say, a run writes a model."""

import numpy as np
import pytest
import timm
import torch

from sample_data.make import train as training
from sample_data.make.augment import colour_jitter, normalise, views
from sample_data.make.networks import NETWORKS, assemble, build, embed_patches, run_blocks, save_network
from sample_data.make.objective_dino import (
    FOLLOWED,
    HIDDEN,
    NOTED,
    QUEUE,
    class_likeness,
    even_out,
    found_again,
    likeness,
)
from sample_data.make.pool import load_pool
from sample_data.make.scenes import VOCABULARY


@pytest.fixture
def images():
    return torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(3))


def _of(name, images):
    """What the model's pool holds: images, or two encounters of each."""
    encounters = training.POOLS[training.RECIPES[name]["pool"]][2]
    return torch.stack([images] * encounters, 1) if encounters else images


def _loss(name, images, captions):
    torch.manual_seed(0)
    objective = training.RECIPES[name]["objective"](build(name), torch.Generator().manual_seed(0))
    loss, _ = objective(_of(name, images), captions, 0.5)
    return objective, loss


@pytest.mark.parametrize("name", NETWORKS)
def test_only_tiny_clip_looks_at_captions(name, images):
    captions = torch.zeros(4, len(VOCABULARY), dtype=torch.uint8)
    same = _loss(name, images, captions)[1] == _loss(name, images, 1 - captions)[1]
    assert same == (name != "tiny-clip")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_learns(name, images):
    objective, loss = _loss(name, images, torch.ones(4, len(VOCABULARY), dtype=torch.uint8))
    loss.backward()
    for key, parameter in objective.network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    objective.after_step(0.5)


def test_even_out_balances():
    shares = even_out(torch.randn(200, 10, generator=torch.Generator().manual_seed(0)), 0.5, rounds=30)
    assert torch.allclose(shares.sum(1), torch.ones(200))
    assert torch.allclose(shares.sum(0), torch.full((10,), 20.0), rtol=0.02)


def test_patches_that_look_alike_share_their_mean():
    """Of two far groups of tokens, each token becomes the mean of its own, wherever it stands."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(12) % 3 == 0
    tokens = torch.where(group[:, None], 5.0, -5.0) + 0.1 * torch.randn(2, 12, 8, generator=generator)
    pooled = likeness(tokens, tokens, 0.02).softmax(-1) @ tokens
    for kind in (group, ~group):
        assert torch.allclose(
            pooled[:, kind], tokens[:, kind].mean(1, keepdim=True).expand_as(pooled[:, kind]), atol=0.02
        )
    order = torch.randperm(12, generator=generator)
    scores = likeness(tokens, tokens, 0.02)
    assert torch.allclose(likeness(tokens[:, order], tokens, 0.02), scores[:, order], atol=1e-4)


def test_what_is_in_both_images_is_found_again():
    """Patch 0 has one like it there, patch 1 two, and patches 2 and 3 none of theirs: they share what is left."""
    scores = torch.full((1, 4, 4), -20.0)
    scores[0, 0, 0] = scores[0, 1, 1] = scores[0, 1, 2] = 20
    scores[0, 2:, 3] = 0
    sure = found_again(scores)[0]
    assert torch.allclose(sure, torch.tensor([1.0, 1.0, 0.5, 0.5]), atol=1e-3)


def test_the_queue_holds_the_latest_class_tokens(images):
    objective = training.RECIPES["tiny-dino"]["objective"](build("tiny-dino"), torch.Generator().manual_seed(0))
    for number in range(3):
        shares = objective._assign(torch.randn(700, 96, generator=torch.Generator().manual_seed(number)))
        assert shares.shape == (700, 96) and torch.allclose(shares.sum(1), torch.ones(700))
    assert len(objective.queue) == QUEUE
    objective._assign(torch.ones(2, 96))
    assert torch.equal(objective.queue[0], objective.queue[1]) and len(objective.queue) == QUEUE


def test_hidden_patches_are_the_share_that_is_said():
    objective = training.RECIPES["tiny-dino"]["objective"](build("tiny-dino"), torch.Generator().manual_seed(0))
    shares = objective._hide(200).float().mean(1)
    assert HIDDEN[0] <= shares.min() < HIDDEN[0] + 0.05 and HIDDEN[1] - 0.05 < shares.max() <= HIDDEN[1] + 1 / 49


def test_the_loss_is_the_sum_of_what_is_logged(images):
    objective = training.RECIPES["tiny-dino"]["objective"](build("tiny-dino"), torch.Generator().manual_seed(0))
    loss, notes = objective(torch.stack([images, images.flip(0)], 1), torch.zeros(0), 0.0)
    assert tuple(notes) == NOTED
    classes = sum(notes[name] for name in ("masked", "crop", "crop-same")) / 3
    rest = sum(notes[name] for name in ("across", "hidden", "seen", "pooled", "added", "added-class"))
    assert float(loss.detach()) == pytest.approx(classes + rest + 0.1 * notes["koleo"], rel=1e-5)
    loss.backward()
    learners = [*objective.network.parameters(), *objective.heads.parameters()]
    learners += [*objective.added_parts.parameters(), *objective.added_classes.parameters()]
    assert all(parameter.grad is not None for parameter in learners)
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())


def test_what_attention_adds_is_heard_in_the_last_blocks_of_the_student(images):
    objective = training.RECIPES["tiny-dino"]["objective"](build("tiny-dino"), torch.Generator().manual_seed(0))
    network, patches = objective.network, embed_patches(objective.network, images)
    _, _, added = objective._run(patches)
    tokens, told = assemble(network, patches), []
    for block in network.blocks:
        told.append(block.attn(block.norm1(tokens))[:, network.num_prefix_tokens :])
        tokens = block(tokens)
    assert len(added) == FOLLOWED
    for heard, truth in zip(added, told[-FOLLOWED:], strict=True):
        torch.testing.assert_close(heard, truth)
    objective.added.clear()
    run_blocks(objective.shipped, assemble(objective.shipped, patches))
    assert not objective.added


def test_patches_share_the_class_token_by_cosine():
    tokens = torch.tensor([[[2.0, 0, 0], [0, 1, 0], [-3, 0, 0]]], requires_grad=True)
    summary = torch.tensor([[5.0, 0, 0]], requires_grad=True)
    shares = class_likeness(summary, tokens)
    expected = torch.tensor([1.0, 0, -1]).div(0.1).softmax(0)
    torch.testing.assert_close(shares.detach(), expected[None, :, None])
    shares[0, 0, 0].backward()
    assert summary.grad is None and tokens.grad is not None


def test_jitter_of_no_strength_changes_nothing(images):
    assert torch.allclose(colour_jitter(images, 0.0, torch.Generator()), images, atol=1e-5)
    jittered = colour_jitter(images, 0.3, torch.Generator().manual_seed(0))
    assert jittered.min() >= 0 and jittered.max() <= 1 and not torch.allclose(jittered, images, atol=0.05)


def test_views_are_crops(images):
    """A crop of a plain gradient spans about its share of the gradient."""
    ramp = torch.linspace(0, 1, 96).expand(4, 3, 96, 96)
    crops = views(ramp, 64, (0.5, 0.5), False, torch.Generator().manual_seed(0))
    span = crops[..., -1] - crops[..., 0]
    assert crops.shape == (4, 3, 64, 64)
    assert span.min() > 0.4 and span.max() < 0.6
    assert normalise(images, [0.5] * 3, [0.5] * 3).min() >= -1


def test_curriculum_begins_with_single_objects():
    pictures = np.zeros((10, 8, 8, 3), np.uint8)
    captions = np.repeat([[1], [0]], 5, axis=0).astype(np.uint8)
    easy = [words.float().mean().item() for _, words, _ in training.batches(pictures, captions, 5, 64, 40, seed=0)]
    assert np.mean(easy[:4]) > 0.8 and np.mean(easy[20:]) < 0.4


def test_a_pool_of_encounters_holds_the_same_objects_twice(tmp_path):
    images, captions = load_pool(tmp_path, 2, 1, encounters=2)
    assert images.shape == (3, 2, 96, 96, 3) and captions.shape == (3, len(VOCABULARY))
    plain, _ = load_pool(tmp_path / "plain", 2, 1)
    assert plain.shape == (3, 96, 96, 3)
    again, _ = load_pool(tmp_path, 2, 1, encounters=2)
    assert np.array_equal(images, again)


def test_a_saved_network_loads_as_a_timm_folder(tmp_path):
    network = build("tiny-dino", seed=3)
    save_network(network, "tiny-dino", tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    for key, value in network.state_dict().items():
        assert torch.equal(value.half().float(), again.state_dict()[key])
