"""The command lines that `look` runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from alignedcut_cli.backbones.registry import parse_model
from alignedcut_cli.commands.look.asked import Asked
from alignedcut_cli.errors import DataError, OutputExistsError, UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import read_header
from alignedcut_cli.store.files import writing
from alignedcut_cli.store.project import check_name

__all__ = ["adopt_alignment", "chain"]

KEPT_TOKENS = "sample:16"
"""Sampled tokens per image of the brain data: align predicts from the mean of all, and regularises on these."""
LONGEST = 120
"""The longest name joined from others."""


def chain(asked: Asked, align: str | None) -> list[list[str]]:
    """The command lines, in order; `align` is the alignment to cut by, if it exists already.

    Artifacts are named by the models, so that other models in the same project change nothing that exists.
    Raises UsageError or InputMissingError for a model that cannot be named.
    """
    names = [_model_name(asked, text) for text in asked.model]
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise UsageError("name-twice", f"two models would be named {twice}", "Look at one after the other")
    sets = [f"features/{name}" for name in names]
    lines = [_extract(asked, asked.images, names if asked.name else ())]
    page = asked.name or _joined(names)
    if asked.brain or align:
        page = asked.name or _cleaned(f"{page}-{align or _brain_name(asked)}")
        if asked.brain:
            align = page
            lines += _align(asked, asked.brain, names, align)
        wanted = ["--space", "aligned", "--align", str(align), "--name", page]
        lines.append(["cut", *_each("--from", sets), *wanted, *_place(asked)])
        cuts = [page]
    else:
        lines += [["cut", "--from", one, "--per-slot", *_place(asked)] for one in sets]
        cuts = [f"{name}-per-slot" for name in names]
    lines += [["color", "--from", f"cut/{cut}", "--no-pictures", *_place(asked)] for cut in cuts]
    return [*lines, _report(asked, cuts, page)]


def _joined(names: Sequence[str]) -> str:
    joined = "+".join(names)
    return joined if len(joined) <= LONGEST else f"{names[0]}+{len(names) - 1}-more"


def _brain_name(asked: Asked) -> str:
    """The name of brain data: their file or folder, and the subject."""
    name = asked.brain.resolve().stem if asked.brain else ""
    return f"{name}-{asked.subject}" if asked.subject else name


def _cleaned(text: str) -> str:
    """Any text turned into an artifact's name."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text)[:LONGEST].strip("-.")


def _model_name(asked: Asked, model: str) -> str:
    name = parse_model(model).artifact_name
    return check_name(f"{asked.name}-{name}" if asked.name else name)


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _place(asked: Asked, *, device: bool = True) -> list[str]:
    """The options that all steps share."""
    chosen = ["--device", asked.device] if device and asked.device != "auto" else []
    return ["-p", str(asked.project), *chosen, *(["--overwrite"] if asked.overwrite else [])]


def _extract(asked: Asked, images: Sequence[str], names: Sequence[str], *options: str) -> list[str]:
    """One extraction; images whose names begin with a dash come last, after --."""
    dashed = any(one.startswith("-") and one != "-" for one in images)
    wanted = [*_each("--model", asked.model), *_each("--weights", asked.weights), *_each("--name", names)]
    rest = [*wanted, *options, *_place(asked)]
    return ["extract", *rest, "--", *images] if dashed else ["extract", *images, *rest]


def _align(asked: Asked, brain: Path, names: Sequence[str], align: str) -> list[list[str]]:
    """Extract the stimuli of the brain data, unless they are the images themselves, and align to the responses."""
    seen = asked.brain_images or (brain if brain.is_dir() else None)
    lines = []
    if seen:
        names = [_cleaned(f"{name}-{_brain_name(asked)}") for name in names]
        lines.append(_extract(asked, [str(seen)], names, "--tokens", KEPT_TOKENS))
    who = ["--subject", str(asked.subject)] if asked.subject else []
    sources = _each("--from", [f"features/{name}" for name in names])
    return [*lines, ["align", "--brain", str(brain), *who, *sources, "--name", align, *_place(asked)]]


def _report(asked: Asked, cuts: Sequence[str], page: str) -> list[str]:
    words = [*_each("--from", [f"color/{cut}" for cut in cuts]), "--name", page]
    words += ["--title", asked.title] if asked.title else []
    return ["report", *words, *_place(asked, device=False), *(["--open"] if asked.show else [])]


def adopt_alignment(frame: Frame, align: str, *, write: bool) -> str:
    """The name of an alignment in the project; one from elsewhere, given as a file, is copied there first (with `write`).

    Raises OutputExistsError if another one has its name, InputMissingError or DataError if it is not an alignment.
    """
    project = frame.project
    if not align.endswith(".safetensors"):
        return project.parse(align, "align")[1]
    path = Path(align)
    header, name = read_header(path), check_name(path.stem)
    if header.kind != "align":
        raise DataError("wrong-kind", f"{path} holds a {header.kind} artifact", "Give what alignedcut align made")
    there = project.path("align", name)
    if not there.exists() and write:
        project.create()
        with project.writing("align", name), writing(there) as temporary:
            shutil.copyfile(path, temporary)
        frame.output.note(f"copied {path} to {there}")
    elif there.exists() and read_header(there).content != header.content:
        raise OutputExistsError("output-exists", f"{there} is another alignment", "Give the file another name")
    return name
