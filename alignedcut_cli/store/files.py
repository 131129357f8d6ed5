"""Atomic writing of files."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alignedcut_cli.errors import AlignedcutError, DiskError, InputMissingError, PermissionDeniedError

__all__ = [
    "TEMPORARY_SUFFIX",
    "abandoned",
    "disk_error",
    "disk_errors",
    "free_disk",
    "fsync_folder",
    "make_folder",
    "nearest_there",
    "remove",
    "temporary_path",
    "writing",
    "writing_text",
]

TEMPORARY_SUFFIX = ".tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LONGEST_WRITE = 3600.0
_DENIED = {errno.EACCES, errno.EPERM}


def disk_error(error: OSError, path: Path) -> AlignedcutError:
    """The failure to report for an OSError on a path."""
    reason = error.strerror or str(error)
    if error.errno == errno.EROFS:
        return PermissionDeniedError(
            "read-only",
            f"{path}: {reason}",
            "Copy the project to a disk that can be written, or mount this one writable",
        )
    if error.errno in _DENIED:
        return PermissionDeniedError("permission-denied", f"{path}: {reason}", "Check the folder's owner and mode")
    if error.errno in _FULL:
        return DiskError("disk-full", f"{path}: {reason}", "Free some space, then run the same command again")
    if isinstance(error, FileNotFoundError):
        return InputMissingError("file-missing", f"{path}: {reason}", "Check the path")
    return DiskError("disk-failed", f"{path}: {reason}", "Check the disk, then run the same command again")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn any OSError in the block into a failure that names the path."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from None


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder with its parents."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def nearest_there(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    there = nearest_there(folder)
    with disk_errors(there):
        return shutil.disk_usage(there).free


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _host() -> str:
    """This machine's name, for file names, as processes on several machines may share a disk."""
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:32]


def temporary_path(path: Path) -> Path:
    """The hidden file next to `path` that this process writes before renaming it; its name identifies the process."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}{TEMPORARY_SUFFIX}")


def abandoned(folder: Path) -> list[Path]:
    """The temporary files in a folder whose writers are gone; many may write there, from several machines."""
    return [path for path in sorted(folder.glob(f".*{TEMPORARY_SUFFIX}")) if not _is_written(path)]


def _is_written(temporary: Path) -> bool:
    """Whether a temporary file's process runs; of a process of another machine, whether it was changed within an hour."""
    named = re.search(r"\.([A-Za-z0-9-]+)\.(\d+)" + re.escape(TEMPORARY_SUFFIX) + "$", temporary.name)
    if named is None:
        return True
    try:
        if named[1] != _host():
            return time.time() - temporary.stat().st_mtime < _LONGEST_WRITE
        os.kill(int(named[2]), 0)
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@contextmanager
def writing(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """A temporary path next to `path` to write to; on success it gets the umask's mode, is fsynced and renamed.

    On failure or interruption the temporary file is removed and `path` is unchanged. Without `lasting` there is no fsync,
    which takes longer than writing a small file: a power failure may leave it empty.
    """
    temporary = temporary_path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            if lasting:
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
            temporary.replace(path)
            if lasting:
                fsync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def writing_text(path: Path, text: str) -> None:
    """Replace a small text file atomically."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    with disk_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
