"""Opening responses: recognise what a path holds, and call its reader."""

from __future__ import annotations

from pathlib import Path

from alignedcut_cli.brain.algonauts import read_algonauts
from alignedcut_cli.brain.responses import Responses
from alignedcut_cli.brain.subjects import find_subject
from alignedcut_cli.brain.tables import READERS, read_table
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
    """The subject's folder or the table that `path` and `subject` refer to.

    Raises InputMissingError if it is missing, UsageError if `subject` is needed or does not apply, DataError for another
    file type.
    """
    with disk_errors(path):
        if path.is_dir():
            return find_subject(path, subject)
        if not path.exists():
            raise InputMissingError("brain-missing", f"{path} does not exist", "Check the path")
        is_file = path.is_file()
    if path.suffix.lower() not in READERS or not is_file:
        raise DataError(
            "brain-unknown",
            f"{path} is neither a folder nor a {', '.join(READERS)} file",
            "Give an Algonauts 2023 subject's folder, or a table with one row per image",
        )
    if subject is not None:
        raise UsageError("subject-of-table", f"--subject {subject}: {path} is a table", "Leave --subject out")
    return path
