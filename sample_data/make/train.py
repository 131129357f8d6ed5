"""Train one of the three models: `python -m sample_data.make.train tiny-clip [--steps N] [--pool DIR] [--out DIR]`.

Prints one line every 100 steps into the log that is shipped beside the weights, writes weights and a checkpoint every
200, and ends with the probe of its best layer. Labels reach tiny-clip only, as words of captions.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from .. import MODELS
from .networks import build, save_network
from .objective_clip import CaptionObjective
from .objective_dino import DistilObjective
from .objective_mae import MaskedObjective
from .pool import load_pool
from .probe import compare

__all__ = ["RECIPES", "batches", "train"]

RECIPES = {
    "tiny-clip": {"objective": CaptionObjective, "steps": 9000, "batch": 32, "rate": 1e-3, "decay": 0.05,
                  "pool": "scenes"},
    "tiny-dino": {"objective": DistilObjective, "steps": 8000, "batch": 24, "rate": 1.5e-3, "decay": 0.04,
                  "pool": "encounters"},
    "tiny-mae": {"objective": MaskedObjective, "steps": 1400, "batch": 32, "rate": 1.5e-3, "decay": 0.05,
                 "pool": "scenes"},
}  # fmt: skip
POOLS = {"scenes": (8000, 16000, 0), "encounters": (8000, 8000, 2)}
"""How many easy and hard scenes a model is trained on, and how many encounters of each there are (0: plain scenes)."""


def batches(images: np.ndarray, captions: np.ndarray, easy: int, size: int, steps: int, seed: int, done: int = 0):
    """Yield (images float32 (B, …, 3, H, W) in 0..1, captions, progress in 0..1) for each step after the first `done`.

    The curriculum: one large object (the first `easy` scenes) in nineteen of twenty scenes at first, in one of four
    from halfway on.
    """
    draws = np.random.default_rng(seed)
    for step in range(steps):
        progress = step / steps
        is_easy = draws.random(size) < max(0.95 - 1.5 * progress, 0.25)
        chosen = np.where(is_easy, draws.integers(0, easy, size), draws.integers(easy, len(images), size))
        if step < done:
            continue
        picture = torch.from_numpy(images[chosen]).movedim(-1, -3).float() / 255
        yield picture, torch.from_numpy(captions[chosen]), progress


def _groups(objective: torch.nn.Module, decay: float) -> list[dict]:
    """Parameter groups for AdamW: weight decay on matrices only."""
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim >= 2]
    return [{"params": matrices, "weight_decay": decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0}]  # fmt: skip


def _rate(progress: float, warm: float = 0.04) -> float:
    """Share of the top learning rate: a linear warm-up, then a half cosine down to 2 percent."""
    if progress < warm:
        return (progress + 1e-3) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


def _store(path: Path, step: int, objective: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Write all that a killed run needs to go on."""
    state = {"step": step, "objective": objective.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state | {"generator": objective.generator.get_state()}, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def _restore(path: Path, objective: torch.nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """The number of steps done by the run that wrote this checkpoint, whose state is taken over; 0 without one."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    objective.load_state_dict(state["objective"])
    optimiser.load_state_dict(state["optimiser"])
    objective.generator.set_state(state["generator"])
    return state["step"]


def _step(objective, optimiser, picture, words, progress: float) -> dict[str, float]:
    """One update; what to log."""
    loss, notes = objective(picture, words, progress)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 3.0)
    optimiser.step()
    objective.after_step(progress)
    return {"loss": loss.item()} | notes


def train(name: str, steps: int, pool: Path, out: Path, seed: int = 0) -> None:
    """Train a network and write config.json, model.safetensors and training.log into `out`.

    A run that was killed goes on from `out`/checkpoint.pt when the same command is given again.
    """
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)  # evening out makes numbers too small to matter, which cost the most time
    recipe = RECIPES[name]
    easy, hard, encounters = POOLS[recipe["pool"]]
    images, captions = load_pool(pool / recipe["pool"], easy, hard, encounters)
    objective = recipe["objective"](build(name, seed), torch.Generator().manual_seed(seed))
    optimiser = torch.optim.AdamW(_groups(objective, recipe["decay"]), lr=recipe["rate"], betas=(0.9, 0.98))
    out.mkdir(parents=True, exist_ok=True)
    done = _restore(out / "checkpoint.pt", objective, optimiser)
    start, totals = time.monotonic(), {}
    with (out / "training.log").open("a" if done else "w") as log:

        def say(line: str) -> None:
            print(line, flush=True)
            log.write(line + "\n")
            log.flush()

        size = sum(parameter.numel() for parameter in objective.network.parameters())
        say(
            f"{name}: {size} parameters, step {done} to {steps} of {recipe['batch']} scenes, rate {recipe['rate']}, "
            f"seed {seed}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads"
        )
        stream = batches(images, captions, easy, recipe["batch"], steps, seed, done)
        for step, (picture, words, progress) in enumerate(stream, done + 1):
            for group in optimiser.param_groups:
                group["lr"] = recipe["rate"] * _rate(progress)
            for key, value in _step(objective, optimiser, picture, words, progress).items():
                totals[key] = totals.get(key, 0.0) + value
            if step % 100 == 0:
                shown = " ".join(f"{key} {value / 100:.4f}" for key, value in totals.items())
                seconds = time.monotonic() - start
                speed = (step - done) * recipe["batch"] / seconds
                say(f"step {step} {shown} scenes/s {speed:.0f} seconds {seconds:.0f}")
                totals = {}
            if step % 200 == 0 or step == steps:
                save_network(objective.shipped, name, out)
                _store(out / "checkpoint.pt", step, objective, optimiser)
        say("best layer: " + json.dumps(compare(name, out)))
    (out / "checkpoint.pt").unlink()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--pool", type=Path, default=Path(tempfile.gettempdir()) / "alignedcut-pool")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    steps = given.steps or RECIPES[given.name]["steps"]
    train(given.name, steps, given.pool, given.out or MODELS / given.name, given.seed)


if __name__ == "__main__":
    main()
