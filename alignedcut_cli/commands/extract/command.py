"""`alignedcut extract`: photographs and models in, feature sets out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.run import DryRun, Frame, require_choice

if TYPE_CHECKING:
    from alignedcut_cli.commands.extract.plan import Plan

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "extract"
EXAMPLES = (
    "alignedcut extract photos/ --model tiny-clip --model tiny-mae -p study",
    "alignedcut extract photos/ --model tiny-dino --tap block --layers 0,3-5 --tokens sample:8 -p study",
    "alignedcut extract photos/ --model tiny-clip --tap q --tap k --tap v -p study",
    "ls photos/*.png | alignedcut extract - --model tiny-clip --name few --json -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Read what each layer of a vision transformer sees in photographs: one feature set a model and tap.

    The whole image is resized to the model's square input. At each tap the class token comes first, then the patches
    row by row; register tokens are left out. Sets of a tap other than attn end in its name, as in tiny-clip-q. An
    interrupted run goes on where it stopped when the same command is given again.
    """
    for tap in asked.tap:
        require_choice("--tap", tap, ("attn", "block", "mlp", "q", "k", "v"))
    require_choice("--dtype", asked.dtype, ("float16", "float32"))
    require_choice("--on-bad-image", asked.on_bad_image, ("fail", "skip"))

    from alignedcut_cli.commands.extract.plan import make_plans
    from alignedcut_cli.commands.extract.run import make

    device = resolve_device(asked.device)
    models = make_plans(frame, asked)
    if asked.dry_run:
        _print_dry_run(frame, models)
        return
    done = [made for plans in models for made in make(frame, plans, asked, device)]
    frame.output.result(
        "\n".join(str(frame.project.path("features", header.name)) for header, _ in done),
        {
            "schema": "alignedcut.extract/1",
            "artifacts": [frame.artifact_object(header, made=made) for header, made in done],
        },
    )


def _print_dry_run(frame: Frame, models: Sequence[Sequence[Plan]]) -> None:
    images = len(models[0][0].manifest.images)
    described = DryRun(
        [f"{images} images", *(f"weights {plans[0].weights.path}" for plans in models)],
        [(str(frame.project.path("features", plan.recipe.name)), plan.bytes) for plans in models for plan in plans],
        max(sum(4 * plan.ranges[0][1] * plan.bytes // max(1, images) for plan in plans) for plans in models),
    )
    frame.output.result(described.text(), described.as_object())
