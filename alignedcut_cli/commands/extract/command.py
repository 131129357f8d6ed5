"""`alignedcut extract`: from photographs or captions and models to feature sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.run import DryRun, Frame, require_choice
from alignedcut_cli.frame.sweeps import Sweep, parse_shard

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.backbones.load import WeightsFile
    from alignedcut_cli.commands.extract.onto_plan import OntoPlan
    from alignedcut_cli.commands.extract.plan import Plan
    from alignedcut_cli.store.header import Header

__all__ = ["BEFORE", "EXAMPLES", "NAME", "command"]

NAME = "extract"
EXAMPLES = (
    "alignedcut extract photos/ --model tiny-clip --model tiny-mae -p study",
    "alignedcut extract photos/ --model tiny-dino --tap block --layers 0,3-5 --tokens sample:8 -p study",
    "alignedcut extract photos/ --model tiny-clip --tap q --tap k --tap v -p study",
    "alignedcut extract photos/ --model tiny-mae --tap maps --modules 'blocks.?' --modules norm -p study",
    "alignedcut extract photos/ --captions captions.csv --model local-dir:minilm --name sentences -p study",
    "ls photos/*.png | alignedcut extract - --model tiny-clip --name few --json -p study",
    "alignedcut extract photos/ --model tiny-clip --name shared --shard 1/4 -p study",
    "alignedcut extract photos/ --model tiny-clip --name shared -p study",
    "alignedcut extract photos/ --onto cut/few --name more -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip --name few -p study",
    "alignedcut cut --from features/few --solver lowrank --nodes 300 --name few -p study",
)


TAPS = ("attn", "block", "mlp", "q", "k", "v", "maps")
_OF_TOKENS = ("--layers", "--tokens", "--dtype")
_OF_MAPS = ("--modules", "--keep", "--keep-duplicates", "--standardise", "--memory")


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Read what each layer of a model sees in photographs, or makes of their captions: a feature set per model and tap.

    The whole image is resized to the model's square input. At each tap of a vision transformer the class token comes
    first, then the patches row by row; register tokens are left out. Sets of a tap other than attn end in its name, as in
    tiny-clip-q. --tap maps reads every module of any image model, and keeps of each the products between images and a
    sparse random projection. --onto keeps no features: it embeds the images in an existing cut as they are read. An
    interrupted run goes on where it stopped when the same command is given again.
    """
    if not asked.model and asked.onto is None:
        raise UsageError("usage", "Missing option '--model' / '-m'", "See --help")
    for tap in asked.tap:
        require_choice("--tap", tap, TAPS)
    if "maps" in asked.tap and asked.tap != ("maps",):
        raise UsageError("option-contradicts", "--tap maps cannot go with another --tap", "Give it alone")
    require_choice("--dtype", asked.dtype, ("float16", "float32"))
    require_choice("--on-bad-image", asked.on_bad_image, ("fail", "skip"))
    require_choice("--keep", asked.keep, ("products", "raw"))
    if asked.cluster and asked.shard:
        raise UsageError("option-contradicts", "--cluster cannot go with --shard", "Leave one of them out")
    if asked.shard:
        parse_shard(asked.shard)
    if asked.cluster and "-" in asked.images:
        asked = replace(asked, images=_without_stdin(asked.images))
    device = resolve_device(asked.device, asked.cluster)
    if asked.standardise and asked.keep == "raw":
        told = "--keep raw cannot go with --standardise, which keeps no map as it is"
        raise UsageError("option-contradicts", told, "Leave one of them out")
    if asked.onto is not None:
        _run_onto(frame, asked, asked.onto, device)
        return
    _refuse(asked, ["--other-weights"], "cannot go without --onto")
    if not any(model.startswith("diffusers:") for model in asked.model):
        _refuse(asked, ["--noise-step"], "cannot go without --model diffusers:PATH")
    if asked.captions is not None:
        _require_whole(asked, "--captions", "which is read by one process")
        _refuse(asked, (*_OF_TOKENS, *_OF_MAPS, "--tap", "--image-size"), "cannot go with --captions")
        _run_captions(frame, asked, asked.captions, device)
    elif asked.tap == ("maps",):
        _refuse(asked, (*_OF_TOKENS, "--captions-per-image"), "cannot go with --tap maps")
        _require_whole(asked, "--tap maps", "which compares all images with one another in one process")
        _run_maps(frame, asked, device)
    else:
        _refuse(asked, _OF_MAPS, "cannot go without --tap maps")
        _refuse(asked, ["--captions-per-image"], "cannot go without --captions")
        _run_tokens(frame, asked, device)


def _refuse(asked: Asked, options: Sequence[str], reason: str) -> None:
    """Raise UsageError for options given explicitly that have no effect."""
    idle = [option for option in options if option in asked.explicit]
    if idle:
        raise UsageError(
            "option-idle", f"{', '.join(idle)} {reason}", "Leave it out" if len(idle) == 1 else "Leave them out"
        )


def _without_stdin(images: Sequence[str]) -> tuple[str, ...]:
    """The same images with the lines of stdin in place of -, which workers cannot read."""
    from alignedcut_cli.commands.extract.images import stdin_lines

    lines = [line.strip() for line in stdin_lines() if line.strip()]
    return tuple(text for one in images for text in (lines if one == "-" else [one]))


def _require_whole(asked: Asked, what: str, why: str) -> None:
    """Raise UsageError if work is to be shared that has no tasks."""
    given = "--cluster" if asked.cluster else "--shard" if asked.shard else None
    if given:
        raise UsageError(
            "no-shards",
            f"{given} cannot go with {what}, {why}",
            f"Leave {given} out: extractions of the taps attn, block, mlp, q, k and v have tasks to share",
        )


def _run_onto(frame: Frame, asked: Asked, onto: str, device: torch.device) -> None:
    from alignedcut_cli.commands.extract.onto_plan import plan_onto
    from alignedcut_cli.commands.extract.onto_run import make_embedding, make_share

    _refuse(asked, (*_OF_MAPS, "--captions", "--captions-per-image", "--noise-step"), "cannot go with --onto")
    if "maps" in asked.tap:
        raise UsageError(
            "option-contradicts", "--tap maps cannot go with --onto", "Leave it out: taps are the base cut's"
        )
    plan = plan_onto(frame, asked, onto)
    if asked.dry_run:
        _print_onto_dry_run(frame, asked, plan, device)
    elif asked.shard:
        told, value = make_share(frame, plan, asked, device)
        frame.output.result(told, {"schema": "alignedcut.extract/1", "artifacts": [value]})
    else:
        _print_made(frame, [make_embedding(frame, plan, asked, device)])


def _run_tokens(frame: Frame, asked: Asked, device: torch.device) -> None:
    from alignedcut_cli.commands.extract.plan import make_plans
    from alignedcut_cli.commands.extract.run import make, make_shares

    models = make_plans(frame, asked)
    if asked.dry_run:
        _print_dry_run(frame, asked, models, device)
    elif asked.shard:
        shares = [share for plans in models for share in make_shares(frame, plans, asked, device)]
        value = {"schema": "alignedcut.extract/1", "artifacts": [one for _, one in shares]}
        frame.output.result("\n".join(told for told, _ in shares), value)
    else:
        _print_made(frame, [made for plans in models for made in make(frame, plans, asked, device)])


def _run_maps(frame: Frame, asked: Asked, device: torch.device) -> None:
    from alignedcut_cli.commands.extract.map_plan import make_map_plans
    from alignedcut_cli.commands.extract.map_run import make_maps, survey

    plans = make_map_plans(frame, asked)
    if not asked.dry_run:
        _print_made(frame, [make_maps(frame, plan, device, overwrite=asked.overwrite) for plan in plans])
        return
    outputs, counts, memory = [], [], 0
    for plan in plans:
        _, layout = survey(plan, device)
        groups = layout.groups(range(len(layout.outputs)))
        network, between = layout.products(groups)
        name = plan.recipe.name
        outputs.append((str(frame.project.path("features", name)), layout.bytes))
        counts += [
            (name, "maps", len(layout.outputs)),
            (name, "duplicates", len(layout.twins)),
            (name, "units", sum(output.units for output in layout.outputs)),
            (name, "passes", sum(len(group.blocks) for group in groups)),
            (name, "images through the network", sum(group.reads for group in groups)),
            (name, "bytes of scratch on disk at once", max(group.disk for group in groups)),
            (name, "floating-point operations of the network", 2 * network),
            (name, "floating-point operations between images", 2 * between),
        ]
        memory = max(memory, layout.fixed + max(group.bytes for group in groups))
    inputs = [f"{len(plans[0].manifest.images)} images", *(_told(plan.weights) for plan in plans)]
    described = DryRun(inputs, outputs, memory, counts)
    frame.dry_run(described)


def _run_captions(frame: Frame, asked: Asked, path: Path, device: torch.device) -> None:
    from alignedcut_cli.commands.extract.captions import make_caption_plans, make_captioned, size_of

    plans = make_caption_plans(frame, asked, path)
    if not asked.dry_run:
        _print_made(frame, [make_captioned(frame, plan, device, overwrite=asked.overwrite) for plan in plans])
        return
    captions = plans[0].captions
    inputs = [f"{captions.count} captions of {len(captions.images)} images"]
    inputs += [f"weights {file}" for plan in plans for file in plan.found.files]
    sizes = [size_of(plan, device) for plan in plans]
    paths = [str(frame.project.path("features", plan.recipe.name)) for plan in plans]
    outputs = [(path, kept) for path, (kept, _) in zip(paths, sizes, strict=True)]
    described = DryRun(inputs, outputs, max(memory for _, memory in sizes))
    frame.dry_run(described)


def _told(weights: WeightsFile) -> str:
    return f"weights {weights.path}" if weights.path else "random weights"


def _print_made(frame: Frame, done: Sequence[tuple[Header, bool]]) -> None:
    artifacts = [frame.artifact_object(header, made=made) for header, made in done]
    frame.output.result(
        "\n".join(one["path"] for one in artifacts), {"schema": "alignedcut.extract/1", "artifacts": artifacts}
    )


def _print_dry_run(frame: Frame, asked: Asked, models: Sequence[Sequence[Plan]], device: torch.device) -> None:
    from alignedcut_cli.commands.extract.sweeps import passes_of

    images, memory = models[0][0].manifest.images, max(map(_memory_of, models))
    passes = [one for plans in models for one in passes_of(frame, plans, asked, device)]
    read = len(passes) * sum(one.bytes for one in images)
    described = DryRun(
        [f"{len(images)} images", *(_told(plans[0].weights) for plans in models)],
        [(str(frame.project.path("features", plan.recipe.name)), plan.bytes) for plans in models for plan in plans],
        memory,
        _counts(asked, [one.sweep for one in passes], read, memory),
    )
    frame.output.result(described.text(), described.as_object())


def _counts(asked: Asked, sweeps: Sequence[Sweep], read: int, memory: int) -> tuple[tuple[str, str, int], ...]:
    """What a dry run says of work that is shared; nothing of other work."""
    if not (asked.cluster or asked.shard):
        return ()
    from alignedcut_cli.frame.cluster_costs import shared_counts

    return shared_counts(asked, NAME, sweeps, read=read, memory=memory)


def _memory_of(plans: Sequence[Plan]) -> int:
    """Bytes of main memory that a process needs for one model: its weights, and the shards that are in the making."""
    images = len(plans[0].manifest.images)
    return plans[0].backbone.bytes + sum(4 * plan.ranges[0][1] * plan.bytes // max(1, images) for plan in plans)


def _print_onto_dry_run(frame: Frame, asked: Asked, plan: OntoPlan, device: torch.device) -> None:
    from alignedcut_cli.commands.extract.onto_run import Embedding

    images = plan.manifest.images
    memory = plan.held + max(source.backbone.bytes for source in plan.sources)
    read = len(plan.sources) * sum(one.bytes for one in images)
    described = DryRun(
        [f"{len(images)} images", *(_told(source.weights) for source in plan.sources), f"cut/{plan.base.name}"],
        [(str(frame.project.path("cut", plan.recipe.name)), plan.bytes)],
        memory,
        _counts(asked, [Embedding(frame, plan, asked, device).sweep], read, memory),
    )
    frame.dry_run(described)
