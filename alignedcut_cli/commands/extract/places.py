"""Where the images of an artifact lie on this machine, as the journal keeps it for pictures."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from alignedcut_cli.errors import PermissionDeniedError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Recipe

__all__ = ["note_done", "remember_place"]


def note_done(frame: Frame, recipe: Recipe, place: tuple[str, Path] | None) -> None:
    """Record in the journal that an artifact is complete, and the folder of its images."""
    images = {"manifest": place[0], "image_root": str(place[1])} if place else {}
    frame.journal.note("done", recipe.kind, recipe.name, frame.argv, recipe=recipe.identity, **images)


def remember_place(frame: Frame, recipe: Recipe, place: tuple[str, Path] | None) -> None:
    """Record the folder of the same images if it is new; a read-only project stays as it is."""
    if place and place[1] not in frame.journal.image_roots([place[0]]):
        with suppress(PermissionDeniedError):
            note_done(frame, recipe, place)
