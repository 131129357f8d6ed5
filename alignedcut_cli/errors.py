"""Every failure that a user can meet: a one-line message, a stable code name and an exit status.

Deep code raises one of these with the fact (what, which value) and the remedy; `main` adds the command's name, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "EXIT_STATUSES",
    "AlignedcutError",
    "ConfigError",
    "DataError",
    "DiskError",
    "InputMissingError",
    "LockedError",
    "OutOfMemoryError",
    "OutputExistsError",
    "PermissionDeniedError",
    "Stopped",
    "UnavailableError",
    "UsageError",
    "error_from",
    "first_line",
    "printable",
]

EXIT_STATUSES: dict[int, str] = {
    0: "done, or up to date",
    1: "the question's answer is no (status or check with --exit-code, models that match nothing)",
    2: "usage: an option or argument is wrong",
    65: "bad data or a bad artifact",
    66: "an input is missing",
    69: "a device, a package or weights are unavailable",
    70: "a bug in alignedcut",
    71: "out of memory",
    73: "the output exists, made by another recipe",
    74: "the disk is full or failed",
    75: "locked by another process",
    77: "permission denied, or a read-only file system",
    78: "alignedcut.toml is wrong",
    130: "stopped by Ctrl-C",
    141: "the reader of stdout went away",
    143: "stopped by SIGTERM",
}


_LONGEST = 1500


class AlignedcutError(Exception):
    """A failure with a stable `code`, what is wrong (`message`) and what to do (`remedy`), both one printable line."""

    exit_status = 70

    def __init__(self, code: str, message: str, remedy: str, **details: Any) -> None:
        self.code = code
        self.message = _clipped(printable(message))
        self.remedy = _clipped(printable(remedy))
        super().__init__(self.message)
        self.details = details

    def as_object(self) -> dict[str, Any]:
        """The failure as the object that `--json` prints on stderr."""
        return {
            "schema": "alignedcut.error/1",
            "code": self.code,
            "exit": self.exit_status,
            "message": self.message,
            "remedy": self.remedy,
            "details": self.details,
        }


class UsageError(AlignedcutError):
    exit_status = 2


class DataError(AlignedcutError):
    exit_status = 65


class InputMissingError(AlignedcutError):
    exit_status = 66


class UnavailableError(AlignedcutError):
    exit_status = 69


class OutOfMemoryError(AlignedcutError):
    exit_status = 71


class OutputExistsError(AlignedcutError):
    exit_status = 73


class DiskError(AlignedcutError):
    exit_status = 74


class LockedError(AlignedcutError):
    exit_status = 75


class PermissionDeniedError(AlignedcutError):
    exit_status = 77


class ConfigError(AlignedcutError):
    exit_status = 78


def error_from(value: Mapping[str, Any]) -> AlignedcutError:
    """The failure that `as_object` made into `value`, of the class that has its exit status."""
    classes = {one.exit_status: one for one in AlignedcutError.__subclasses__()}
    kind = classes.get(value["exit"], AlignedcutError)
    return kind(value["code"], value["message"], value["remedy"], **value["details"])


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived. A BaseException, so that no `except Exception` swallows it.

    `remedy` says how to resume; code that keeps a partial result sets it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.remedy = "Nothing was written; run the same command again"

    @property
    def exit_status(self) -> int:
        return 128 + self.signal_number


def printable(text: str) -> str:
    """Text from outside (names of files, of columns, ...) with its control characters escaped, as repr does.

    So no name can break a line or control the terminal.
    """
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _clipped(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


def first_line(error: BaseException) -> str:
    """The message of another library's exception in one line; the exception's name if it is empty."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
