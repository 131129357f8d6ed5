"""What a path with responses is, and its reader."""

from __future__ import annotations

import re
from pathlib import Path

from alignedcut_cli.brain.algonauts import fmri_path, read_algonauts
from alignedcut_cli.brain.responses import Responses
from alignedcut_cli.brain.tables import READERS, read_table
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.store.files import disk_errors

__all__ = ["find_source", "open_responses"]


def open_responses(path: Path, *, subject: int | None = None) -> Responses:
    """The responses at `path`: a subject's folder, a folder of subjects (`subject` says which), or a table.

    Raises InputMissingError, UsageError or DataError where `find_source` or the reader does.
    """
    source = find_source(path, subject)
    return read_algonauts(source) if source.is_dir() else read_table(source)


def find_source(path: Path, subject: int | None = None) -> Path:
    """The subject's folder or the table that `path` and `subject` mean.

    Raises InputMissingError if it is not there, UsageError if `subject` is needed or does not apply, DataError for a
    file of another kind.
    """
    with disk_errors(path):
        if path.is_dir():
            return _subject_folder(path, subject)
        if not path.exists():
            raise InputMissingError("brain-missing", f"{path} does not exist", "Check the path")
    if path.suffix.lower() not in READERS:
        raise DataError(
            "brain-unknown",
            f"{path} is neither a folder nor a {', '.join(READERS)} table",
            "Give an Algonauts 2023 subject's folder, or a table with one row per image",
        )
    if subject is not None:
        raise UsageError("subject-of-table", f"--subject {subject}: {path} is a table", "Leave --subject out")
    return path


def _subject_folder(path: Path, subject: int | None) -> Path:
    if (path / "training_split").is_dir():
        number = re.search(r"\d+$", path.absolute().name)
        if subject is not None and not (number and int(number[0]) == subject):
            raise UsageError(
                "subject-itself",
                f"--subject {subject}: {path} is itself a subject",
                "Leave --subject out, or give the folder of subjects",
            )
        return path
    names = {int(child.name[4:]): child for child in sorted(path.iterdir()) if re.fullmatch(r"subj\d+", child.name)}
    if not names:
        raise _no_subject(path)
    if subject is None and len(names) > 1:
        told = ", ".join(str(number) for number in names)
        raise UsageError("subject-choice", f"{path} holds the subjects {told}", "Give one as --subject")
    chosen = next(iter(names)) if subject is None else subject
    if chosen not in names:
        told = few([child.name for child in names.values()], most=8)
        raise InputMissingError("subject-missing", f"{path} has no subj{chosen:02d}", f"It has {told}")
    if not (names[chosen] / "training_split").is_dir():
        raise _no_subject(names[chosen])
    return names[chosen]


def _no_subject(path: Path) -> InputMissingError:
    above = next((up for up in list(path.absolute().parents)[:2] if (up / "training_split").is_dir()), None)
    return InputMissingError(
        "no-subject",
        f"{path} is no Algonauts 2023 subject: {fmri_path(path, 'lh', 'training')} does not exist",
        f"Give {above}" if above else "Give a folder that holds training_split, or the folder of subj01 to subj08",
    )
