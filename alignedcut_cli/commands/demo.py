"""`alignedcut demo`: the whole chain on the shipped scenes and models, as a tutorial."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from alignedcut_cli.datasets.samples import sample_brain, sample_data, sample_models
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.chain import Step
from alignedcut_cli.frame.config import require_folder
from alignedcut_cli.frame.output import table
from alignedcut_cli.frame.pace import format_seconds
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.side_by_side import Line, run_side_by_side
from alignedcut_cli.store.files import disk_errors, make_folder, remove
from alignedcut_cli.store.project import KINDS, MACHINE, REPORTS

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "demo"
SCENES, MASKS, BRAIN = "scenes", "masks", "brain"
CATEGORY, NAMES = "category", "names.json"
PATCH = "0:4:8"
PAGE = "demo"
SIMULATED = "brain"
"""What the commands call the simulated brain that they wait for."""
NARROWEST = 30
"""The least width of the closing table, in characters."""
SCORED = shlex.split("--split given --metric ereg --roi V1,V4,EBA,FFA,VWFA,PPA --bootstrap 200 --permutations 99")
PICTURES = (
    "color/*/sheet-*.png",
    "align/*/*.png",
    "score/*/*.png",
    "segment/*/*.png",
    "trace/*/*.png",
    "concepts/*/*.png",
    "pathways/*/*.png",
)
WORTH_OPENING = {
    "color/{model}-per-slot/sheet-{model}-attn.png": "rows are scenes, columns layers: figures take colours of their own",
    "color/joint/sheet-{model}-attn.png": "one colour means the same in all layers and models, whose sheets lie beside",
    "score/world/depth-ereg.png": "which layers predict which brain area, below the noise ceiling",
    "align/world/channels.png": "models whose own channels share nothing agree once they are aligned",
    "segment/world/curves.png": "in which layers figure and ground, and then classes, come apart",
    "segment/world/overlays-figure-ground.png": "figures found without a label, beside the true ones",
    "trace/joint/paths.png": "where patches go from layer to layer",
    "pathways/what-where/pathways.png": "what groups of values, and of queries with keys, tell of classes and of positions",
    "concepts/joint/figure-ground.png": "which brain areas figures activate, and which their background",
}
"""The pictures to open first, with what they show."""
EXAMPLES = ("alignedcut demo", "alignedcut demo look-here --fresh --json")


def command(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The project to create.", metavar="[DIR]")] = Path("alignedcut-demo"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove what an earlier demo made there, and start over.")
    ] = False,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run the whole chain on shipped scenes and tiny models, printing each command before it runs.

    Needs no network. A second run finds everything up to date.
    """
    frame = Frame.open(ctx, folder, json=json, quiet=quiet, verbose=verbose)
    _prepare(folder, fresh)
    began = time.monotonic()
    steps = run_side_by_side(frame.output, chain(folder, device), SIMULATED, partial(_simulate, frame, folder / BRAIN))
    seconds = time.monotonic() - began
    pictures = sorted(str(path) for pattern in PICTURES for path in (folder / "pictures").glob(pattern))
    first = _worth_opening(folder / "pictures")
    page = frame.project.path(REPORTS, PAGE)
    frame.output.result(
        _summary(steps, seconds, page, folder / "pictures", shutil.get_terminal_size().columns),
        {
            "schema": "alignedcut.demo/2",
            "steps": [step.as_object() for step in steps],
            "page": str(page),
            "pictures": pictures,
            "worth_opening": first,
        },
    )


def _worth_opening(folder: Path) -> list[dict[str, str]]:
    """The few most informative pictures, each with what it shows."""
    model = next(iter(sample_models()))
    found = {folder / name.format(model=model): shows for name, shows in WORTH_OPENING.items()}
    return [{"path": str(path), "shows": shows} for path, shows in found.items() if path.is_file()]


def _summary(steps: Sequence[Step], seconds: float, page: Path, pictures: Path, width: int) -> str:
    """The commands that ran, in lines of at most `width` characters, and the one file to open.

    The program and the project, common to all lines, are left out; each line was printed in full before it ran.
    """
    room = max(NARROWEST, width) - len("  seconds")
    rows = [[_cut(_short(step.command), room), f"{step.seconds:.1f}"] for step in steps]
    told = [
        f"Done in {format_seconds(seconds)}, commands side by side.",
        "Open this one file in a browser:",
        str(page),
        "Every picture on its own:",
        str(pictures),
    ]
    return "\n".join([table([["command", "seconds"], *rows]), "", *told])


def _short(command: str) -> str:
    """A command line without the program's name and its project."""
    words = shlex.split(command)[1:]
    return shlex.join(words[: words.index("-p")] + words[words.index("-p") + 2 :] if "-p" in words else words)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 2]} …"


def chain(folder: Path, device: str) -> list[Line]:
    """The command lines of the demo: those that others wait for longest come first."""
    models = list(sample_models())
    place = ["-p", str(folder)]
    place_on = [*place, *([] if device == "auto" else ["--device", device])]
    wanted = [word for model in models for word in ("--model", model)]
    masks = ["--masks", str(folder / MASKS / CATEGORY)]
    brain = folder / BRAIN
    seen = [str(brain / f"{kind}_split" / f"{kind}_images") for kind in ("training", "test")]
    names = [word for model in models for word in ("--name", f"{model}-brain")]
    sources = _from(f"features/{model}-brain" for model in models)
    alone = [f"cut/{model}-per-slot" for model in models]
    joined = [*_from(f"features/{model}" for model in models), "--space", "aligned", "--align", "world"]
    lines = [
        _line("seen", ["extract", *seen, *wanted, *names, "--tokens", "sample:16", *place_on], SIMULATED),
        _line("world", ["align", "--brain", str(brain), *sources, "--name", "world", *place_on], "seen"),
        _line("scenes", ["extract", str(folder / SCENES), *wanted, *place_on]),
        _line("joint", ["cut", *joined, "--name", "joint", *place_on], "world", "scenes"),
        _line("joint colors", ["color", "--from", "cut/joint", "--nodes", "3000", *place_on], "joint"),
        _cut_alone(models[0], place_on),
        _color(alone[0], place_on),  # before others: in a new installation the first one compiles for all
        *(_cut_alone(model, place_on) for model in models[1:]),
        *_pathways(folder, models[0], masks, place, place_on),
        _line("trace", ["trace", "--from", "cut/joint", *masks, "--nodes", "1500", *place], "joint"),
        _line(
            "concepts",
            ["concepts", "--from", "color/joint", *masks, "--pixel", PATCH, "--layers", "3,5", *place_on],
            "joint colors",
        ),
        _line(
            "segment",
            ["segment", *masks, *_from([*alone, "cut/joint"]), "--merge", "both", "--name", "world", *place],
            "joint",
            *alone,
        ),
        _line("score", ["score", "--brain", str(brain), *sources, *SCORED, "--name", "world", *place_on], "seen"),
        *(_color(cut, place_on) for cut in alone[1:]),
        _line("responses", ["brain", str(brain)], SIMULATED),
    ]
    made = [line.makes for line in lines]
    return [
        *lines,
        _line("page", ["report", "--name", PAGE, "--budget", "8MB", *place], *made),
        _line("checked", ["check", "--exit-code", *place], "page"),
        _line("status", ["status", *place], "checked"),
    ]


def _line(makes: str, argv: Sequence[str], *needs: str) -> Line:
    return Line(tuple(argv), makes, frozenset(needs))


def _cut_alone(model: str, place_on: Sequence[str]) -> Line:
    return _line(f"cut/{model}-per-slot", ["cut", "--from", f"features/{model}", "--per-slot", *place_on], "scenes")


def _color(cut: str, place_on: Sequence[str]) -> Line:
    return _line(f"colors of {cut}", ["color", "--from", cut, "--nodes", "600", *place_on], cut)


def _from(sources: Iterable[str]) -> list[str]:
    return [word for source in sources for word in ("--from", source)]


def _pathways(
    folder: Path, model: str, masks: Sequence[str], place: Sequence[str], place_on: Sequence[str]
) -> list[Line]:
    """What and where in one model: the cuts of its values, and of its queries with its keys, over all layers together."""
    taps = [word for tap in ("q", "k", "v") for word in ("--tap", tap)]
    graphs = {"vv": f"features/{model}-v", "qk": f"features/{model}-q"}
    cuts = [f"cut/{model}-{graph}" for graph in graphs]
    found = ["--bootstrap", "200", "--permutations", "50", "--name", "what-where"]
    return [
        _line("taps", ["extract", str(folder / SCENES), "--model", model, *taps, *place_on]),
        *(
            _line(cut, ["cut", "--graph", graph, "--from", source, "--no-pictures", *place], "taps")
            for cut, (graph, source) in zip(cuts, graphs.items(), strict=True)
        ),
        *(_color(cut, place_on) for cut in cuts),
        _line("pathways", ["pathways", *_from(cuts), *masks, *found, *place], *cuts),
    ]


def _prepare(folder: Path, fresh: bool) -> None:
    """Copy the scenes and masks into the project; with `fresh`, remove what an earlier demo made there."""
    require_folder("DIR", folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MACHINE).is_dir():
        raise UsageError("folder-taken", f"{folder} is no alignedcut project and not empty", "Give another DIR")
    if fresh:
        for name in (*KINDS, "pictures", MACHINE, SCENES, MASKS, BRAIN):
            remove(folder / name)
    make_folder(folder / MACHINE)
    there = sample_data() / SCENES
    _copy(sorted((there / "images").iterdir()), folder / SCENES)
    masks = folder / MASKS / CATEGORY
    _copy(sorted((there / CATEGORY).iterdir()), masks)
    with disk_errors(masks):
        names = json.loads((there / NAMES).read_bytes())[CATEGORY]
        (masks / NAMES).write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


def _copy(files: Sequence[Path], folder: Path) -> None:
    """Copy the files into a folder, except those that exist already."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in files:
            copy = folder / path.name
            if not copy.is_file() or copy.read_bytes() != path.read_bytes():
                shutil.copyfile(path, copy)


def _simulate(frame: Frame, brain: Path, threads: int, tend: Callable[[], object]) -> None:
    """Make the simulated brain once: 800 training and 200 test scenes, and responses to them; `tend` after each scene."""
    if brain.is_dir():
        return
    write_brain = sample_brain()
    partial = brain.with_name(f".{brain.name}.partial")
    remove(partial)
    frame.output.note("simulating a brain that looks at scenes")
    last = 0
    with disk_errors(partial), frame.output.progress("simulating", 1000, "scenes") as advance:

        def tick(done: int, total: int) -> None:
            nonlocal last
            advance(done - last)
            last = done
            tend()

        write_brain(partial, threads=threads, tick=tick)
        partial.rename(brain)
