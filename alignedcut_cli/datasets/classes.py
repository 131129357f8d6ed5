"""The classes of a ground truth: which class ids are scored, and as which class."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alignedcut_cli.errors import DataError, UsageError

__all__ = ["FIGURE_GROUND", "Classes", "figure_ground", "find_classes", "parse_ids", "void_alone"]

FIGURE_GROUND = "figure-ground"


@dataclass(frozen=True)
class Classes:
    """The k classes of one labelling of the masks: class j has the id `ids[j]` and the name `names[j]`.

    `background` is the class (0 to k - 1) of background, None if the masks have none. `members` gives the class of each
    id in the masks; ids that it lacks are void.
    """

    title: str
    ids: tuple[int, ...]
    names: tuple[str, ...]
    background: int | None
    members: tuple[tuple[int, int], ...]

    def labels(self, mask: np.ndarray) -> np.ndarray:
        """The class of each pixel of a mask of ids (H, W): int64, -1 for void."""
        ids, classes = np.array(sorted(self.members), np.int64).T
        places = np.searchsorted(ids, mask).clip(max=len(ids) - 1)
        return np.where(ids[places] == mask, classes[places], -1)


def parse_ids(option: str, text: str) -> tuple[int, ...]:
    """Class ids, ascending, from a list such as `0,92-200`, or `none`. Raises UsageError."""
    if text.strip() == "none":
        return ()
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        known = first.isdecimal() and (not dash or last.isdecimal())
        if not known or not int(first) <= int(last or first) < 1 << 32 or int(last or first) - int(first) >= 1 << 16:
            raise UsageError(
                "bad-ids", f"{option} {text!r} is no list of class ids", "Give for example 0,92-200, or none"
            )
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def find_classes(
    present: Collection[int],
    names: Mapping[int, str],
    *,
    background: Collection[int] = (0,),
    ignore: Collection[int] = (255,),
    chosen: Collection[int] | None = None,
) -> Classes:
    """The classes of masks that hold the ids `present`: one for each id, all of `background` together being the first.

    Ids of `ignore` are void. With `chosen`, all other ids are background, too. An id absent from all masks is not a class.
    Raises UsageError for an id both background and void, or chosen and absent; DataError for fewer than two classes.
    """
    both = sorted(set(background) & set(ignore))
    if both:
        raise UsageError("bad-ids", f"--background and --ignore both name {both[0]}", "Name each class id once")
    absent = sorted(set(chosen or ()) - set(present))
    if absent:
        raise UsageError("bad-ids", f"--classes: no mask holds {absent[0]}", "Choose ids that the masks hold")
    scored = sorted(set(present) - set(ignore))
    ground = [one for one in scored if one in set(background) or (chosen is not None and one not in chosen)]
    figure = [one for one in scored if one not in ground]
    first = [min(background, default=ground[0])] if ground else []
    members = dict.fromkeys(ground, 0) | {one: len(first) + number for number, one in enumerate(figure)}
    ids = (*first, *figure)
    if len(ids) < 2:
        raise _one_class(ids, sorted(set(present) & set(ignore)))
    told = [names.get(one, str(one)) for one in ids]
    if ground:
        told[0] = names[ground[0]] if len(ground) == 1 and ground[0] in names else "background"
    told = [f"{name} ({one})" if told.count(name) > 1 else name for one, name in zip(ids, told, strict=True)]
    return Classes("classes", ids, tuple(told), 0 if ground else None, tuple(sorted(members.items())))


def _one_class(ids: Sequence[int], void: Sequence[int]) -> DataError:
    """The error for too few classes; a single void id may be meant as foreground: masks of 0 and 255."""
    told = f"the masks hold {len(ids)} class(es) besides void: {', '.join(map(str, ids)) or 'none'}"
    if len(void) == 1:
        told += f"; their only other id, {void[0]}, is void by --ignore"
        return DataError("one-class", told, f"If {void[0]} is a class, such as figure, give --ignore none")
    remedy = "Give masks that tell classes apart, or other --background and --ignore"
    return DataError("one-class", told, remedy)


def void_alone(masks: Sequence[np.ndarray], background: int, void: int) -> str | None:
    """The remedy for masks that hold only background and void, such as those of 0 and 255; None for others."""
    ids = {one for mask in masks for one in np.unique(mask).tolist()}
    if void not in ids or ids - {background, void}:
        return None
    free = next(one for one in range(void + 3) if one not in {background, void})
    return (
        f"Their only other id, {void}, is void by --ignore: if it is figure, give another id, such as --ignore {free}"
    )


def figure_ground(classes: Classes) -> Classes:
    """The same masks with all classes but background as one: 0 ground, 1 figure. DataError if there is no background."""
    if classes.background is None:
        raise DataError(
            "no-background",
            "the masks have no background to separate figures from",
            "Say which ids it has: --background",
        )
    members = tuple((one, int(number != classes.background)) for one, number in classes.members)
    return Classes(FIGURE_GROUND, (0, 1), ("ground", "figure"), 0, members)
