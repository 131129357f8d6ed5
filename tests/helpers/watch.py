"""The side effects of code: writes outside a folder, processes, connections, globals of pickles.

Python's audit events report what Python opens, removes, starts or connects to; a list of the files before and after
reports what native libraries wrote.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1,
    "os.chmod": 1, "os.chown": 1, "os.utime": 1, "os.setxattr": 1, "shutil.rmtree": 1, "shutil.move": 2,
}  # fmt: skip
"""Events that change files, and how many of their leading arguments are paths."""
_FOREIGN = (
    "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.", "socket.connect",
    "socket.bind", "socket.getaddrinfo", "socket.gethostby", "socket.sendto", "urllib.", "http.", "ftplib.", "smtplib.",
    "webbrowser.", "pickle.find_class", "marshal.load",
)  # fmt: skip

_state: dict[str, Any] = {"installed": False, "allowed": None, "secret": (), "seen": []}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    allowed = _state["allowed"]
    if allowed is None:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITING and not _within(path, allowed):
            _state["seen"].append(f"opened {path!r} for writing")
        if any(_within(path, secret) and not isinstance(path, int) for secret in _state["secret"]):
            _state["seen"].append(f"opened {path!r}, which nothing named")
    elif event in _CHANGES:
        _state["seen"] += [f"{event} {path!r}" for path in arguments[: _CHANGES[event]] if not _within(path, allowed)]
    elif event.startswith(_FOREIGN) and not _is_import():
        _state["seen"].append(f"{event} {arguments!r:.200}")


def _within(path: Any, allowed: Path) -> bool:
    if isinstance(path, int) or path is None:
        return True
    real = os.path.realpath(os.fsdecode(path))
    return real == os.devnull or real.startswith(f"{allowed}{os.sep}") or real == str(allowed)


def _is_import() -> bool:
    """Whether a module is being imported, whose unmarshalling is Python's own."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def watched(allowed: Path, secret: Sequence[Path] = ()) -> Iterator[list[str]]:
    """Within the context, a list of forbidden actions that were done.

    Files may be changed only below `allowed`, and none may be opened below the folders `secret`.
    """
    if not _state["installed"]:
        sys.addaudithook(_hook)
        _state["installed"] = True
    seen: list[str] = []
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    _state.update(allowed=allowed.resolve(), secret=[one.resolve() for one in secret], seen=seen)
    try:
        yield seen
    finally:
        _state["allowed"] = None
        sys.dont_write_bytecode = before


def listing(folder: Path, but: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time of everything below a folder, without following links, except below `but`."""
    found = {}
    for place, folders, names in os.walk(folder):
        if Path(place) == but:
            folders.clear()
            continue
        for name in (*folders, *names):
            if (path := Path(place, name)) != but:
                stat = path.lstat()
                found[str(path)] = (0 if name in folders else stat.st_size, stat.st_mtime_ns)
    return found
