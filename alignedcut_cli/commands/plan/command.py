"""`alignedcut plan`: bytes, operations, passes and seconds of a study, estimated beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import available_memory, require_folder, resolve_device
from alignedcut_cli.frame.output import format_bytes, table
from alignedcut_cli.frame.pace import format_seconds
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.files import free_disk, nearest_there

if TYPE_CHECKING:
    from alignedcut_cli.commands.plan.rates import Rates
    from alignedcut_cli.commands.plan.shapes import Extraction
    from alignedcut_cli.commands.plan.steps import Limit, Machines, Step, Study

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "plan"
EXAMPLES = (
    "alignedcut plan --images 64 --model tiny-clip --model tiny-dino",
    "alignedcut plan --images 1e6 --model tiny-clip --model tiny-dino --machines 16 --disk-rate 3.9",
)
SAMPLE = 10_000


def command(
    ctx: typer.Context,
    images: Annotated[float, typer.Option("--images", metavar="N", help="How many photographs: 73000, or 1e6.")],
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="As for extract. May be repeated: all join in one graph.")
    ],
    tap: Annotated[str, typer.Option("--tap", help="Where to read: attn, block, mlp, q, k or v.")] = "attn",
    layers: Annotated[str, typer.Option("--layers", help="all, or a list such as 0,3,5-9.")] = "all",
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", min=1, help="Side of the square input in pixels.  [default: the model's]"),
    ] = None,
    tokens: Annotated[str, typer.Option("--tokens", help="What is kept: all, or sample:K.")] = "all",
    dtype: Annotated[str, typer.Option("--dtype", help="Stored numbers: float16 or float32.")] = "float16",
    dim: Annotated[
        int | None,
        typer.Option(
            "--dim", min=1, help="Aligned channels.  [default: the widest layer's; none for one model of one width]"
        ),
    ] = None,
    eigenvectors: Annotated[int, typer.Option("--eigenvectors", "-C", min=1, help="Eigenvectors to keep.")] = 20,
    nodes: Annotated[int, typer.Option("--nodes", min=10, help="Nodes that t-SNE places.")] = SAMPLE,
    machines: Annotated[int, typer.Option("--machines", min=1, help="Workers like this machine.")] = 1,
    disk_rate: Annotated[
        float | None,
        typer.Option(
            "--disk-rate", metavar="GB/S", help="The shared disk's rate for all workers.  [default: measured here]"
        ),
    ] = None,
    device: options.Device = "auto",
    project: options.Project = Path(),
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Tell what a study of so many photographs takes: bytes, operations, passes and seconds, and what breaks first.

    Counted from the models' shapes, and from rates that are measured now on this machine, with random weights and
    made-up nodes: some seconds for each model, some 20 for the rest. Of several machines each is taken to be like this
    one, on one shared disk. The alignment is not counted: it is fitted on the photographs that have responses, however
    many are cut. Nothing is made; the disk is measured with a file of 256 MiB in the project's directory.
    """
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose)
    if not 1 <= images < 1e12 or images != int(images):
        raise UsageError("bad-images", f"--images {images:g} is no number of photographs", "Give a whole number")
    if disk_rate is not None and not 0 < disk_rate < float("inf"):
        raise UsageError("bad-rate", f"--disk-rate {disk_rate:g} is no rate", "Give GB/s, such as 3.9")
    where = resolve_device(device)
    from alignedcut_cli.commands.plan.rates import measure
    from alignedcut_cli.commands.plan.shapes import Extraction
    from alignedcut_cli.commands.plan.steps import Machines, limits_of, steps_of

    require_folder("--project", frame.project.root)
    folder = nearest_there(frame.project.root)  # the disk is that of the project, which is not made
    extraction = Extraction(tap, layers, image_size, tokens, dtype, dim, where)
    study, speeds = _open_study(frame, int(images), model, extraction, eigenvectors, nodes)
    frame.output.note("measuring the disk, and the passes of cut and color")
    width = max(max(one.widths) for one in study.models)
    rates = measure(width, study.channels, eigenvectors, study.sample, where, folder)
    read, written = (rates.read, rates.written) if disk_rate is None else (disk_rate * 1e9, disk_rate * 1e9)
    cluster = Machines(machines, available_memory(), free_disk(folder), read, written)
    steps = steps_of(study, rates, speeds, cluster)
    limits = limits_of(study, steps, cluster)
    frame.output.result(
        "\n".join(_lines(study, steps, limits, cluster)), _value(study, steps, limits, rates, speeds, cluster)
    )


def _open_study(
    frame: Frame, images: int, models: Sequence[str], extraction: Extraction, count: int, sample: int
) -> tuple[Study, list[float]]:
    """The study, and the images/s of each model."""
    from alignedcut_cli.commands.plan.steps import Study

    shapes, speeds = [], []
    for text in models:
        frame.output.note(f"measuring {text}")
        shape, speed = extraction.measured(text, nearest_there(frame.project.root))
        shapes.append(shape)
        speeds.append(speed)
    widths = {width for shape in shapes for width in shape.widths}
    joined = extraction.dim or (None if len(shapes) == 1 and len(widths) == 1 else max(widths))
    return Study(images, shapes, joined, count, min(sample, images * sum(one.nodes for one in shapes))), speeds


def _lines(study: Study, steps: Sequence[Step], limits: Sequence[Limit], cluster: Machines) -> list[str]:
    """The plan as text."""
    rows = [["step", "passes", "reads", "writes", "operations", "memory", "time", "bound by"]]
    rows += [
        [
            step.name,
            str(step.passes),
            format_bytes(step.read) if step.read else "photographs",
            format_bytes(step.written),
            f"{step.operations:.1e}",
            format_bytes(step.memory),
            format_seconds(step.seconds),
            step.bound,
        ]
        for step in steps
    ]
    head = f"{study.images:,} images, {study.nodes_per_image:,} nodes each: {study.nodes:,} nodes"
    space = "as they are stored" if study.channels is None else f"in {study.channels} aligned channels"
    workers = f"{cluster.count} machines like this one" if cluster.count > 1 else "this machine"
    broken = [["up to nodes", "what ends there", "what goes on"]]
    broken += [[f"{limit.nodes:.1e}", limit.what, limit.remedy] for limit in limits]
    reached = next((limit for limit in limits if limit.nodes < study.nodes), None)
    verdict = f"breaks first here: {reached.what}" if reached else "nothing breaks here"
    return [
        f"{head}, {space}, {study.count} eigenvectors, on {workers}",
        "",
        table(rows),
        "",
        table(broken),
        "",
        verdict,
    ]


def _value(
    study: Study,
    steps: Sequence[Step],
    limits: Sequence[Limit],
    rates: Rates,
    speeds: Sequence[float],
    cluster: Machines,
) -> dict[str, Any]:
    return {
        "schema": "alignedcut.plan/1",
        "images": study.images,
        "nodes": study.nodes,
        "channels": study.channels,
        "machines": cluster.count,
        "steps": [step.as_object() for step in steps],
        "limits": [{"nodes": int(one.nodes), "what": one.what, "remedy": one.remedy} for one in limits],
        "rates": {
            **rates.as_object(),
            "images": {model.label: speed for model, speed in zip(study.models, speeds, strict=True)},
            "shared_disk": {"read": cluster.read, "written": cluster.written, "free": cluster.free},
        },
    }
