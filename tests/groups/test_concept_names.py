"""Names of concepts: each number as a sum written out, planted words that come back, and chance that names nothing."""

from __future__ import annotations

import numpy as np
import pytest

from alignedcut_cli.core.groups.concept_names import LARGEST_P, Names, image_shares, name_concepts, orders_needed
from alignedcut_cli.core.resample.draws import bootstrap_weights, random_orders
from alignedcut_cli.core.resample.nulls import holm

IMAGES, WORDS, WIDTH = 30, 7, 10


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def direction(shares: np.ndarray, embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum_b w_b (s_b - mean s) (e_b - mean e), image by image; means weighted too."""
    middle, mean = np.average(embeddings, axis=0, weights=weights), np.average(shares, weights=weights)
    parts = [w * (s - mean) * (e - middle) for w, s, e in zip(weights, shares, embeddings, strict=True)]
    return np.sum(parts, axis=0)


def along(found: np.ndarray, words: np.ndarray) -> list[float]:
    """The length of a direction along each word's, less the mean of words."""
    mean = words.mean(0)
    return [float(found @ (word - mean) / np.linalg.norm(word - mean)) for word in words]


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.random((4, IMAGES)), random.normal(size=(IMAGES, WIDTH)), random.normal(size=(WORDS, WIDTH))


def test_names_are_those_of_sums_written_out() -> None:
    shares, embeddings, words = drawn()
    draws, orders = bootstrap_weights(IMAGES, 20, 1), random_orders(IMAGES, 50, 1)
    found = name_concepts(shares, embeddings, words, draws, orders)
    even, p = np.ones(IMAGES), []
    for number, share in enumerate(shares):
        there = direction(share, embeddings, even)
        wanted = [cosine(there, word - words.mean(0)) for word in words]
        np.testing.assert_allclose(found.cosines[number], wanted, atol=1e-12)
        assert found.nearest[number] == np.argmax(wanted)
        best = max(along(there, words))
        null = [max(along(direction(share, embeddings[order], even), words)) for order in orders]
        p.append((1 + sum(one >= best - 1e-9 for one in null)) / (1 + len(orders)))
        again = [np.argmax(along(direction(share, embeddings, weights), words)) for weights in draws]
        assert found.same[number] == pytest.approx(np.mean([one == np.argmax(wanted) for one in again]))
    np.testing.assert_allclose(found.p, p)
    np.testing.assert_allclose(found.adjusted, holm(np.array(p)))


def test_shares_are_counted_image_by_image() -> None:
    concept, images = np.array([0, 0, 1, -1, 1, 1, -1, 2]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    wanted = [[0.5, 0, 0], [0.25, 0.5, 0], [0, 0.25, 0], [0, 0, 0]]
    np.testing.assert_array_equal(image_shares(concept, images, 4, 3), wanted)


def test_neither_scale_nor_a_shift_nor_the_order_of_images_matters() -> None:
    shares, embeddings, words = drawn()
    draws, orders = bootstrap_weights(IMAGES, 20, 1), random_orders(IMAGES, 199, 1)
    plain = name_concepts(shares, embeddings, words, draws, orders)
    moved = name_concepts(3 * shares + 1, 0.1 * embeddings - 5, 7 * words + 2, draws, orders)
    for name in ("cosines", "nearest", "p", "adjusted", "same"):
        np.testing.assert_allclose(getattr(moved, name), getattr(plain, name), atol=1e-9, err_msg=name)
    other = np.random.default_rng(2).permutation(IMAGES)
    mixed = name_concepts(shares[:, other], embeddings[other], words, draws[:, other], orders)
    np.testing.assert_allclose(mixed.cosines, plain.cosines)
    np.testing.assert_allclose(mixed.same, plain.same)


def test_a_concept_that_all_images_have_alike_has_no_word() -> None:
    shares, embeddings, words = drawn()
    shares[1] = 0.25
    found = name_concepts(shares, embeddings, words, np.zeros((0, IMAGES)), random_orders(IMAGES, 99, 0))
    assert found.nearest[1] == -1 and np.isnan([found.p[1], found.adjusted[1], *found.cosines[1]]).all()
    assert np.isnan(found.same).all()
    rest = [0, 2, 3]
    np.testing.assert_allclose(found.adjusted[rest], holm(found.p[rest]))


def planted(seed: int, strength: float) -> tuple[Names, np.ndarray]:
    """Concepts of known words: each image's embedding holds the words as much as it has of their concepts."""
    random = np.random.default_rng(seed)
    words = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0][:WORDS] + 3
    own = random.permutation(WORDS)[:4]
    shares = random.random((4, IMAGES)) ** 2
    embeddings = strength * shares.T @ (words[own] - 3) + random.normal(size=(IMAGES, WIDTH)) + 5
    orders = random_orders(IMAGES, orders_needed(4), seed)
    return name_concepts(shares, embeddings, words, bootstrap_weights(IMAGES, 20, seed), orders), own


def test_planted_words_come_back() -> None:
    found = [planted(seed, 20.0) for seed in range(5)]
    right = [(one.nearest == own) & (one.adjusted <= LARGEST_P) for one, own in found]
    assert np.mean(right) >= 0.9
    assert np.mean([one.same for one, _ in found]) > 0.85
    assert np.mean([one.adjusted <= LARGEST_P for one, _ in (planted(seed, 0.0) for seed in range(5))]) <= 0.1


def test_chance_names_a_concept_in_five_of_a_hundred_worlds() -> None:
    """Also with images that lie along one direction, to which some words are near."""
    found = []
    for seed in range(400):
        random = np.random.default_rng(seed)
        embeddings = random.normal(size=(IMAGES, WIDTH)) * (1 + 4 * (np.arange(WIDTH) == 0))
        shares = random.random((1, IMAGES)) ** 4
        words, orders = random.normal(size=(WORDS, WIDTH)), random_orders(IMAGES, 99, seed)
        found.append(name_concepts(shares, embeddings, words, np.zeros((0, IMAGES)), orders).adjusted[0])
    assert 0.025 <= np.mean(np.array(found) <= LARGEST_P) <= 0.08


@pytest.mark.parametrize("concepts", [1, 30, 400])
def test_orders_are_enough_to_name_every_concept(concepts: int) -> None:
    assert concepts / (1 + orders_needed(concepts)) <= 0.02
