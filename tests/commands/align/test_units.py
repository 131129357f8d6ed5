"""Responses in any units: what is fitted does not depend on them, and the read-out is in the data's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import Cli
from tests.helpers.aligning import VOXELS, image_names, make_world, responses_to, write_csv

FACTORS = np.array([1e-25, 1e-6, 1.0, 1e6, 3e12, 1e18])
OFFSETS = np.array([0.0, 0.0, 0.0, 1e6, 0.0, -1e18])
BOTH = ("--from", "features/first", "--from", "features/second")
OPTIONS = {"agreeing": (), "as in the paper": ("--agree", 0), "random": ("--init", "random", "--dim", 5)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


def aligned(
    cli: Cli, world: Path, name: str, values: np.ndarray, *options: object
) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of an alignment with these responses, and what it told of the start."""
    table = write_csv(world / f"{name}.csv", image_names(), values)
    options = ("--epochs", 2, "--no-pictures", "--name", name, "--overwrite", *options)
    run = cli("align", "--brain", table, *BOTH, "-p", world / "study", *options)
    assert run.status == 0, run.err
    return load_file(run.out.strip()), "".join(re.findall("ridge start: .*", run.err))


@pytest.mark.parametrize("kind", OPTIONS)
def test_results_do_not_depend_on_the_units_of_channels(cli: Cli, world: Path, kind: str) -> None:
    """Powers of two from 1e-25 to 1e18, which round nothing: every number but the read-out is the same, bit for bit."""
    values = responses_to(image_names())
    factors = np.exp2(np.round(np.log2(FACTORS)))
    plain, told = aligned(cli, world, "plain", values, *OPTIONS[kind])
    other, told_other = aligned(cli, world, "other", values * factors, *OPTIONS[kind])
    assert told == told_other
    for name, array in plain.items():
        wanted = (array * factors).astype(np.float32) if name in ("beta", "eps", "scale") else array
        np.testing.assert_array_equal(other[name], wanted, err_msg=name)
    cuts = []
    for name in ("plain", "other"):
        cut = (
            "cut",
            "--from",
            "first",
            "--space",
            "brain",
            "--align",
            name,
            "-C",
            3,
            "--name",
            f"{kind.replace(' ', '-')}-{name}",
        )
        run = cli(*cut, "-p", world / "study", "-q")
        assert run.status == 0, run.err
        cuts.append(load_file(run.out.strip())["eigenvectors"])
    np.testing.assert_array_equal(*cuts)


def test_any_units_and_zeros_give_the_same_start(cli: Cli, world: Path) -> None:
    """Each of six channels in a unit and from a zero of its own, which rounds float32 responses to some 1e-7."""
    values = responses_to(image_names()).astype(np.float64)
    plain, told = aligned(cli, world, "plain", values, "--epochs", 0)
    other, told_other = aligned(cli, world, "other", values * FACTORS + OFFSETS, "--epochs", 0)
    assert told == told_other
    for name in ("r2.train", "r2.test", "pearson.test", "heldout"):
        np.testing.assert_allclose(other[name], plain[name], atol=1e-3)
    for number in range(3):
        matrix, expected = other[f"transform.{number:03d}"], plain[f"transform.{number:03d}"]
        np.testing.assert_allclose(matrix, expected, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(other["beta"] / FACTORS, plain["beta"], atol=1e-3 * np.abs(plain["beta"]).max())
    np.testing.assert_allclose((other["eps"] - OFFSETS) / FACTORS, plain["eps"], atol=1e-3)
    np.testing.assert_allclose(other["scale"] / FACTORS, plain["scale"], rtol=1e-5)


def test_one_loud_channel_does_not_rule_the_fit(cli: Cli, world: Path) -> None:
    """The case of the issue: 40 voxels of which one is in units a million times smaller."""
    draws = np.random.default_rng(0)
    values = responses_to(image_names(), 40) + draws.standard_normal((len(image_names()), 40))
    loud = values * np.where(np.arange(40) == 7, 1e6, 1.0)
    plain, told = aligned(cli, world, "plain", values)
    other, told_other = aligned(cli, world, "loud", loud)
    assert told == told_other
    assert len(other["beta"]) == len(plain["beta"]) > 1
    np.testing.assert_allclose(other["r2.test"], plain["r2.test"], atol=1e-3)


def test_the_read_out_is_in_the_units_of_the_data(cli: Cli, world: Path) -> None:
    """Standard deviations over training images; a channel that is constant on them has none, and predicts its value."""
    values = responses_to(image_names()).astype(np.float64) * 1e3 + 50
    values[:36, 1] = 20.0
    found, _ = aligned(cli, world, "own", values)
    trained = found["split"] != 2
    spread = values[trained].astype(np.float32).std(0, dtype=np.float64)
    spread[1] = 1
    np.testing.assert_allclose(found["scale"], spread, rtol=1e-5)
    assert found["scale"].shape == (VOXELS,)
    assert (found["r2.test"][[0, 2, 3, 4, 5]] > 0).all()
    assert found["eps"][1] == pytest.approx(20, abs=0.1)
    assert np.abs(found["beta"][:, 1]).max() < 0.1
