"""One odd input given to its reader: a result or one AlignedcutError in one printable line, and no side effects."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import EXIT_STATUSES, AlignedcutError
from alignedcut_cli.frame.quiet import quiet_libraries
from alignedcut_cli.main import main
from tests.helpers.odd_inputs import Odd, Reader, Tree
from tests.helpers.watch import listing, watched

SECONDS, GIBIBYTES = 20, 1


def plant(folder: Path, tree: Tree, odd: Odd) -> None:
    """Write the tree with its damaged file."""
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != odd.file:
            path.write_bytes(content)
        elif odd.called:
            (path.parent / f"{odd.called}{path.suffix}").write_bytes(content)
        elif odd.content is not None:
            path.write_bytes(odd.content)
        else:
            _plant_special(path, odd.special, folder.parent / "outside")


def _plant_special(path: Path, special: str, outside: Path) -> None:
    match special:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "gone":
            pass
        case _:
            secret = outside / f"secret{path.suffix}"
            targets = {"loop": path.parent, "nothing": Path("nowhere"), "secret": secret, "zero": Path("/dev/zero")}
            path.symlink_to(targets[special])


class Hangs(BaseException):
    """A reader timed out. A BaseException, so that no `except Exception` of a reader swallows it."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """At most SECONDS, and GIBIBYTES of memory more than in use now: small inputs that need more are bombs."""

    def stop(*_: object) -> None:
        raise Hangs

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + (GIBIBYTES << 30)
    handler = signal.signal(signal.SIGALRM, stop)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def attempt(reader: Reader, tree: Tree, odd: Odd, root: Path, world: Path) -> str:
    """The outcome of one input: `result`, or the code of its error. Raises AssertionError for anything else.

    `root` is emptied first. The folder is root/input, root/outside holds files that must not be read or changed, and the
    working directory is root/here.
    """
    shutil.rmtree(root, ignore_errors=True)
    for name in ("outside", "here", "input"):
        (root / name).mkdir(parents=True)
    (root / "outside/secret.txt").write_text("secret-of-another-folder\n")
    plant(root / "input", tree, odd)
    allowed = root / "input" if reader.is_project else world / "study"
    before, there = listing(root, allowed), Path.cwd()
    os.chdir(root / "here")
    try:
        with bounded(), watched(allowed, () if odd.special else (root / "outside",)) as seen:
            outcome = _by_command(reader, root / "input", world) if odd.by_command else _direct(reader, root, world)
    except Hangs:
        raise AssertionError(f"{odd!r}: no end in {SECONDS} s") from None
    finally:
        os.chdir(there)
    assert not seen, f"{odd!r}: {seen}"
    assert listing(root, allowed) == before, f"{odd!r} changed files"
    return outcome


def _direct(reader: Reader, root: Path, world: Path) -> str:
    assert reader.read
    try:
        with quiet_libraries():
            reader.read(root / "input", world)
    except AlignedcutError as error:
        _require_told(error.as_object(), reader)
        return error.code
    return "result"


def _by_command(reader: Reader, folder: Path, world: Path) -> str:
    assert reader.command
    argv = [str(word) for word in (*reader.command(folder, world), "--json")]
    lines = folder / reader.stdin
    stdin = io.TextIOWrapper(io.BytesIO(lines.read_bytes() if lines.is_file() else b""))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        before, sys.stdin = sys.stdin, stdin
        try:
            status = main(argv)
        finally:
            sys.stdin = before
    told = err.getvalue()
    if status in (0, 1):
        assert isinstance(json.loads(out.getvalue()), dict) and not told, told
        return "result"
    assert not out.getvalue() and told.count("\n") == 1 and told.endswith("\n"), (status, told)
    error = json.loads(told)
    assert (error["schema"], error["exit"]) == ("alignedcut.error/1", status), told
    _require_told(error, reader)
    return error["code"]


def _require_told(error: Mapping[str, Any], reader: Reader) -> None:
    """Require a code, an exit status other than 70, and one printable line on what is wrong and what to do."""
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", error["code"]), error
    refused = {0, 70} if reader.may_be_large else {0, 70, 71}
    assert error["exit"] in EXIT_STATUSES.keys() - refused, error
    for part in ("message", "remedy"):
        assert error[part] and error[part].isprintable() and len(error[part]) < 2_000, error
