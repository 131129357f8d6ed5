"""Figures drawn in several processes: all of them, whatever a process meets, and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from alignedcut_cli.errors import DataError, Stopped
from alignedcut_cli.frame.drawing import draw_all
from alignedcut_cli.store.files import writing

forks = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process draws")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before, there = torch.get_num_threads(), children()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
    assert children() == there  # none is left, not even as a zombie


def children() -> set[str]:
    """The processes that this one has started and not yet waited for; none where the system does not tell."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def written(folder: Path, number: int) -> None:
    """A file that tells which process wrote it."""
    time.sleep(0.02)
    (folder / f"{number}").write_text(str(os.getpid()))


def who(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.iterdir(), key=lambda path: int(path.name))]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_all_are_drawn_and_counted(tmp_path: Path, count: int) -> None:
    counted: list[int] = []
    draw_all([partial(written, tmp_path, number) for number in range(count)], counted.append)
    assert len(who(tmp_path)) == sum(counted) == count


@forks
def test_two_processes_draw_where_there_are_two_threads(tmp_path: Path) -> None:
    draw_all([partial(written, tmp_path, number) for number in range(8)])
    assert len(set(who(tmp_path))) == 2 and str(os.getpid()) in who(tmp_path)


def test_one_thread_draws_in_this_process_in_order(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    order: list[int] = []
    draw_all([partial(order.append, number) for number in range(4)])
    assert order == [0, 1, 2, 3]


@forks
@pytest.mark.parametrize("here", [True, False])
def test_an_error_is_raised_whichever_process_meets_it(tmp_path: Path, here: bool) -> None:
    this = os.getpid()

    def fail() -> None:
        if here or os.getpid() != this or len(list(tmp_path.iterdir())) == 3:
            raise DataError("bad", "cannot be drawn", "Draw another")
        time.sleep(0.3)

    with pytest.raises(DataError, match="cannot be drawn"):
        draw_all([fail, *(partial(written, tmp_path, number) for number in range(3)), fail])


@forks
def test_what_a_killed_process_leaves_is_drawn_by_this_one(tmp_path: Path) -> None:
    this = os.getpid()

    def die(number: int) -> None:
        if os.getpid() != this:
            os.kill(os.getpid(), signal.SIGKILL)
        written(tmp_path, number)

    counted: list[int] = []
    draw_all([partial(die, number) for number in range(5)], counted.append)
    assert who(tmp_path) == [str(this)] * 5 and sum(counted) == 5


@forks
def test_a_stop_ends_the_other_process_which_leaves_no_half_file(tmp_path: Path) -> None:
    this = os.getpid()

    def draw(stop: Callable[[], None]) -> None:
        if os.getpid() == this:
            while not list(tmp_path.iterdir()):
                time.sleep(0.01)
            stop()
        with writing(tmp_path / "figure.png") as temporary:
            temporary.write_text("half")
            time.sleep(60)

    def stop() -> None:
        raise Stopped(signal.SIGINT)

    def raised(number: int, _: object) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, raised)  # as main does
    began = time.monotonic()
    with pytest.raises(Stopped):
        draw_all([partial(draw, stop), partial(draw, stop)])
    signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - began < 30 and not list(tmp_path.iterdir())


@forks
def test_a_photograph_that_is_gone_is_told_once_by_whichever_process(tmp_path: Path) -> None:
    code = f"""if True:
        import os, time
        import torch
        from pathlib import Path
        from alignedcut_cli.frame.drawing import draw_all
        from alignedcut_cli.frame.photos import Photos
        from alignedcut_cli.frame.output import Output
        from types import SimpleNamespace
        torch.set_num_threads(2)
        frame = SimpleNamespace(output=Output("show"), journal=SimpleNamespace(image_roots=lambda _: []))
        image = {{"path": "a.png", "sha256": ""}}
        photos = Photos(frame, SimpleNamespace(history=[], axes={{"B": {{"images": [image]}}}}), None)
        def draw():
            assert photos(0) is None
            Path({str(tmp_path)!r}, str(os.getpid())).touch()
            time.sleep(.1)
        draw_all([draw] * 6)
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.count("'a.png' is gone") == 1 and len(list(tmp_path.iterdir())) == 2


def test_without_room_for_a_process_this_one_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    draw_all([partial(written, tmp_path, number) for number in range(3)])
    assert who(tmp_path) == [str(os.getpid())] * 3


def test_a_process_ends_without_looking_for_garbage() -> None:
    code = """if True:
        import atexit, gc
        from alignedcut_cli.main import main
        atexit.register(lambda: print(gc.get_freeze_count() > 10_000))
        main(["--version"])
        main(["--version"])
        assert gc.get_freeze_count() == 0
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "True", found.stderr
