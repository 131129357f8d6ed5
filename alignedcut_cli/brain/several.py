"""Several subjects at once: those of a folder, of a table with a subject per voxel, or of RDMs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.open import find_source, open_responses
from alignedcut_cli.brain.rdm_sets import Rdms, holds_rdms, read_rdms
from alignedcut_cli.brain.responses import Responses
from alignedcut_cli.brain.subjects import subject_numbers
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.store.files import disk_errors

__all__ = ["Subject", "open_brain"]


@dataclass(frozen=True)
class Subject:
    """The responses of one subject."""

    name: str
    responses: Responses


def open_brain(path: Path, subject: str | None = None, min_snr: float | None = None) -> tuple[Subject, ...] | Rdms:
    """The subjects that `path` and `subject` (all, or a list such as 1,2) select, or RDMs where the file holds these.

    Without `subject`, all of a table or of RDMs are selected; for a folder it is required. Voxels whose signal-to-noise
    ratio is not above `min_snr` are left out. Raises UsageError, InputMissingError or DataError.
    """
    with disk_errors(path):
        is_folder, is_rdms = path.is_dir(), path.is_file() and holds_rdms(path)
    if is_rdms:
        if min_snr is not None:
            raise UsageError("option-unused", "--min-snr needs responses, and these are RDMs", "Leave it out")
        return _only_rdms(path, read_rdms(path), subject)
    found = _of_folder(path, subject) if is_folder else _of_table(path, subject)
    return found if min_snr is None else tuple(_above(path, one, min_snr) for one in found)


def _of_folder(path: Path, subject: str | None) -> tuple[Subject, ...]:
    numbers = subject_numbers(path)
    if subject is None or not numbers:
        number = None if subject in (None, "all") else _number(subject)
        source = find_source(path, number)
        return (Subject(_called(source), open_responses(source)),)
    chosen = numbers if subject == "all" else [_number(part) for part in _parts(subject)]
    sources = [find_source(path, number) for number in chosen]
    return tuple(Subject(f"subj{n:02d}", open_responses(one)) for n, one in zip(chosen, sources, strict=True))


def _number(text: str) -> int:
    match = re.fullmatch(r"(?:subj(?:ect)?|sub)?[-_ ]?0*(\d{1,6})", text, re.IGNORECASE)
    if not match or not int(match[1]):
        raise UsageError("bad-subject", f"--subject {text!r} is no subject", "Give all, or numbers such as 1,2")
    return int(match[1])


def _called(source: Path) -> str:
    match = re.search(r"(\d+)$", source.absolute().name)
    return f"subj{int(match[1]):02d}" if match else source.absolute().name


def _parts(text: str) -> list[str]:
    """The subjects in a comma-separated list, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _of_table(path: Path, subject: str | None) -> tuple[Subject, ...]:
    responses = open_responses(find_source(path))
    if responses.subjects is None:
        if subject not in (None, "all"):
            raise UsageError(
                "subject-of-table",
                f"--subject {subject}: {path} does not say whose its voxels are",
                f"Leave it out, or write a column `subject` to {path.stem}.voxels.csv",
            )
        return (Subject("1", responses),)
    there = list(dict.fromkeys(responses.subjects.tolist()))
    chosen = _chosen(path, subject, there)
    return tuple(Subject(one, responses.take(responses.subjects == one)) for one in chosen)


def _chosen(path: Path, subject: str | None, there: Sequence[str]) -> list[str]:
    """The selected names, as written or by their number: 1 is subj01, too."""
    if subject in (None, "all"):
        return list(there)
    found = []
    for part in _parts(subject):
        fits = [one for one in there if one == part] or [
            one
            for one in there
            if (match := re.search(r"(\d+)$", one)) and part.isdecimal() and int(match[1]) == int(part)
        ]
        if len(fits) != 1:
            raise UsageError("subject-missing", f"{path} has no subject {part!r}", f"It has {few(there, 8)}")
        found.append(fits[0])
    return list(dict.fromkeys(found))


def _only_rdms(path: Path, rdms: Rdms, subject: str | None) -> Rdms:
    """The RDMs of the selected subjects; regions that none of these has are left out."""
    if subject in (None, "all"):
        return rdms
    everyone = list(dict.fromkeys(name for names, _ in rdms.regions.values() for name in names))
    chosen = _chosen(path, subject, everyone)
    regions = {}
    for region, (names, matrices) in rdms.regions.items():
        places = [place for place, name in enumerate(names) if name in chosen]
        if places:
            regions[region] = tuple(names[place] for place in places), matrices[places]
    return Rdms(regions, rdms.images, rdms.notes, f"{rdms.identity}/{','.join(chosen)}")


def _above(path: Path, subject: Subject, least: float) -> Subject:
    """The subject without voxels whose signal-to-noise ratio is unknown or not above `least`."""
    snr = subject.responses.snr
    if snr is None:
        raise UsageError(
            "snr-missing",
            f"--min-snr {least:g}: {path} has no signal-to-noise ratios",
            f"Write a column `ncsnr` to {path.stem}.voxels.csv, or leave --min-snr out",
        )
    kept = np.nan_to_num(snr, nan=-1.0) > least
    if not kept.any():
        highest = float(np.nanmax(snr))
        raise DataError(
            "no-voxel",
            f"{path}: no voxel of subject {subject.name} has a signal-to-noise ratio above {least:g}",
            f"The highest is {highest:.3g}",
        )
    return Subject(subject.name, subject.responses.take(kept))
