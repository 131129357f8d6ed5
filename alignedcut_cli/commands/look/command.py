"""`alignedcut look`: from photographs and models to one page."""

from __future__ import annotations

from alignedcut_cli.commands.look.asked import Asked
from alignedcut_cli.commands.look.chain import adopt_alignment, chain
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.chain import run_chain, typed
from alignedcut_cli.frame.run import Frame

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "look"
EXAMPLES = (
    "alignedcut look photos/ --model tiny-clip --model tiny-dino -p first-look",
    "alignedcut look 'photos/*.png' --model tiny-mae --title 'What MAE sees' --dry-run -p first-look",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Look at photographs through models: extract, cut, color and report in one go, to one page that is the result.

    Each layer of each model is cut alone; with --brain or --align all layers of all models are cut as one, in the space
    that they share. The commands that it stands for are printed before they run: what is done already is not done again,
    and any of them can be given alone, with more options, and the page made again.
    """
    _require_used(asked)
    align = adopt_alignment(frame, asked.align, write=not asked.dry_run) if asked.align else None
    lines = chain(asked, align)
    if asked.dry_run:
        commands = [typed(line) for line in lines]
        frame.output.result("\n".join(commands), {"schema": "alignedcut.look/1", "commands": commands})
        return
    steps = run_chain(frame, lines)
    page = steps[-1].out.splitlines()[0]
    value = {"schema": "alignedcut.look/1", "page": page, "steps": [step.as_object() for step in steps]}
    frame.output.result(page, value)


def _require_used(asked: Asked) -> None:
    """Raise UsageError for options that exclude each other, or that do nothing without another."""
    if asked.brain and asked.align:
        raise UsageError("option-contradicts", "--brain cannot go with --align", "Give one of them")
    idle = [option for option in ("--subject", "--brain-images") if option in asked.explicit]
    if idle and not asked.brain:
        raise UsageError("option-idle", f"{', '.join(idle)} cannot go without --brain", "Leave it out")
