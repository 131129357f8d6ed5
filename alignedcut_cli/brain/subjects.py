"""Finding a subject's folder, in any spelling and however the data were unpacked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from alignedcut_cli.brain.algonauts import fmri_path
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import InputMissingError, UsageError

__all__ = ["find_subject", "subject_numbers"]

_NAME = re.compile(r"(?:subject|subj|sub)[-_ ]?(\d{1,6})", re.IGNORECASE)
_DEEPEST = 4
"""How many nested single folders are entered: archives often unpack to NAME/NAME."""


def subject_numbers(path: Path) -> list[int]:
    """The numbers of the subjects that a folder holds, ascending; none if it is itself a subject, or holds none."""
    place = path
    for _ in range(_DEEPEST):
        children = [] if _is_subject(place) else _folders(place)
        if numbers := [int(match[1]) for child in children if (match := _NAME.fullmatch(child.name))]:
            return sorted(set(numbers))
        if len(children) != 1:
            break
        place = children[0]
    return []


def find_subject(path: Path, subject: int | None) -> Path:
    """The folder of the subject that a folder and `subject` refer to: itself, or subj01, sub-01, Subj01 ... in it.

    Raises InputMissingError if it is missing, UsageError if `subject` is needed or does not apply.
    """
    place = path
    for _ in range(_DEEPEST):
        if _is_subject(place):
            number = re.search(r"\d+$", place.absolute().name)
            if subject is not None and not (number and int(number[0]) == subject):
                raise UsageError(
                    "subject-itself",
                    f"--subject {subject}: {place} is itself a subject",
                    "Leave --subject out, or give the folder of subjects",
                )
            return place
        children = _folders(place)
        numbered: dict[int, list[Path]] = defaultdict(list)
        for child in children:
            if match := _NAME.fullmatch(child.name):
                numbered[int(match[1])].append(child)
        if numbered:
            return _chosen(place, numbered, subject)
        if len(children) != 1:
            break
        place = children[0]
    raise _no_subject(path)


def _chosen(path: Path, numbered: Mapping[int, Sequence[Path]], subject: int | None) -> Path:
    if subject is None and len(numbered) > 1:
        told = ", ".join(str(number) for number in numbered)
        raise UsageError("subject-choice", f"{path} holds the subjects {told}", "Give one as --subject")
    chosen = next(iter(numbered)) if subject is None else subject
    if chosen not in numbered:
        told = few([child.name for children in numbered.values() for child in children], most=8)
        raise InputMissingError("subject-missing", f"{path} has no subj{chosen:02d}", f"It has {told}")
    folders = numbered[chosen]
    if len(folders) > 1:
        told = " and ".join(folder.name for folder in folders)
        raise UsageError(
            "subject-twice", f"{path}: {told} are both subject {chosen}", "Give the folder of the one meant"
        )
    place = folders[0]
    for _ in range(_DEEPEST):
        if _is_subject(place):
            return place
        children = _folders(place)
        if len(children) != 1:
            break
        place = children[0]
    raise _no_subject(folders[0])


def _is_subject(path: Path) -> bool:
    return (path / "training_split").is_dir()


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones and those that macOS adds to archives."""
    children = [child for child in path.iterdir() if child.name[0] != "." and child.name != "__MACOSX"]
    return sorted(child for child in children if child.is_dir())


def _no_subject(path: Path) -> InputMissingError:
    above = next((up for up in list(path.absolute().parents)[:2] if (up / "training_split").is_dir()), None)
    return InputMissingError(
        "no-subject",
        f"{path} is no Algonauts 2023 subject: {fmri_path(path, 'lh', 'training')} does not exist",
        f"Give {above}" if above else "Give a folder that holds training_split, or the folder of subj01 to subj08",
    )
