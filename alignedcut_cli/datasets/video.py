"""Frames of a video (mp4, m4v, mov, mkv, webm, avi), by PyAV. Such a file is read as a folder.

The path of a frame is FILE.mp4/frames/00013: its number, from 0, in the order in which frames are shown.
"""

from __future__ import annotations

import bisect
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from threading import Lock
from typing import Any

import numpy as np

from alignedcut_cli.datasets.hdf5 import MOST_PIXELS
from alignedcut_cli.errors import DataError, UnavailableError, UsageError, first_line
from alignedcut_cli.store.hashes import stamp

__all__ = ["SUFFIXES", "is_frame", "paths_in", "read_pixels", "split_range"]

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}
"""The one format as which a file is read, by its suffix: none that names other files, as playlists do."""
SUFFIXES = frozenset(_FORMATS)
FOLDER = "frames"
_MOST_FRAMES = 1 << 20
_KEPT = 32
"""Decoded frames that are kept, as threads ask for them a little out of order."""
_NUMBER = re.compile(r"[0-9]{1,12}")
_RANGE = re.compile(r"[0-9]{1,12}(-[0-9]{1,12})?(,[0-9]{1,12}(-[0-9]{1,12})?)*")
_REMEDY = "Convert it, for example with ffmpeg -i FILE -c:v libx264 NEW.mp4, or give its frames as images"


def split_range(argument: str) -> tuple[Path, str] | None:
    """The file and the frames that FILE.mp4, FILE.mp4:RANGE or FILE.mp4:RANGE:STEP name ("" is all); None for others."""
    text, numbers = argument, ""
    for _ in range(3):
        path = Path(text)
        if path.suffix.lower() in _FORMATS and path.is_file():
            return path, numbers
        text, colon, last = text.rpartition(":")
        if not colon:
            return None
        numbers = f"{last}:{numbers}" if numbers or last == "" else last
    return None


def is_frame(path: PurePath) -> bool:
    """Whether a path is that of a frame inside a video. The file need not exist."""
    inside = len(path.parts) > 2 and path.parent.name == FOLDER and path.parents[1].suffix.lower() in _FORMATS
    return inside and _NUMBER.fullmatch(path.name) is not None


def paths_in(file: Path, numbers: str) -> list[Path]:
    """The paths of a video's frames: all, or those of a range such as 0-999, 0,5,7-9, 0-999:10 or :10, in its order.

    Raises UnavailableError without PyAV, UsageError for an invalid range, DataError for a file that cannot be read.
    """
    count = len(_index(str(file), tuple(stamp(file))).times)
    digits = max(5, len(str(count - 1)))
    return [file / FOLDER / f"{number:0{digits}d}" for number in _parse(file, numbers, count)]


def _parse(file: Path, text: str, count: int) -> list[int]:
    numbers, _, step = text.partition(":")
    numbers = numbers or f"0-{count - 1}"
    if not _RANGE.fullmatch(numbers) or (step and not (_NUMBER.fullmatch(step) and int(step))):
        told = "Write for example :0-999, :0,5,7-9, :0-999:10, or ::10 for every tenth of all"
        raise UsageError("bad-range", f"{file}:{text} names no frames", told)
    ends = [(int(first), int(last or first)) for first, _, last in (one.partition("-") for one in numbers.split(","))]
    if bad := next((f"{first}-{last}" for first, last in ends if first > last or last >= count), None):
        raise UsageError("bad-range", f"{file} has the frames 0 to {count - 1}, not {bad}", "Choose among them")
    chosen = [range(first, last + 1, int(step or 1)) for first, last in ends]
    if (total := sum(map(len, chosen))) > _MOST_FRAMES:
        raise UsageError("bad-range", f"{file}: {total} frames are too many", f"Choose {_MOST_FRAMES} at most")
    return [number for one in chosen for number in one]


def read_pixels(path: Path) -> np.ndarray:
    """One frame, upright: uint8 (H, W, 3). Raises as `paths_in` does."""
    file = path.parents[1]
    return _reader(str(file), tuple(stamp(file))).frame(int(path.name))


@dataclass(frozen=True)
class _Index:
    """When each frame is shown, in order, in the stream's unit, and when those are that can be decoded alone.

    Where the file does not say when (`counted`), the times are the frames' numbers.
    """

    times: tuple[int, ...]
    keys: tuple[int, ...]
    counted: bool


@lru_cache(maxsize=8)
def _index(file: str, _: tuple[int, ...]) -> _Index:
    """The index of a video as it is now, from its packets alone; where these do not say when, from all frames."""
    with _opened(file) as (container, stream):
        packets = [one for one in container.demux(stream) if one.size and not one.is_discard]
        times = [one.pts for one in packets]
        if times and None not in times and len(set(times)) == len(times):
            return _Index(tuple(sorted(times)), tuple(sorted(one.pts for one in packets if one.is_keyframe)), False)
    with _opened(file) as (container, stream):
        count = sum(1 for _ in container.decode(stream))
    if not count:
        raise DataError("video-unreadable", f"{file} has no frames", _REMEDY)
    return _Index(tuple(range(count)), (0,), True)


@contextmanager
def _opened(file: str) -> Iterator[tuple[Any, Any]]:
    """An open video and its first stream of pictures. Raises UnavailableError or DataError."""
    with _failures(file), _open(file) as container:
        yield container, _stream(file, container)


@contextmanager
def _failures(file: str) -> Iterator[None]:
    """Turn what PyAV raises into one failure that names the file."""
    try:
        yield
    except (OSError, ValueError, IndexError, OverflowError, RuntimeError, TypeError, AttributeError, EOFError) as error:
        raise DataError("video-unreadable", f"{file}: {first_line(error)}", _REMEDY) from None


def _open(file: str) -> Any:
    try:
        import av
    except ImportError:
        raise UnavailableError(
            "no-av", f"{file} needs the package av", "Install it: pip install 'alignedcut[video]'"
        ) from None
    options = {"protocol_whitelist": "file"}
    return av.open(str(Path(file).absolute()), format=_FORMATS[Path(file).suffix.lower()], options=options)


def _stream(file: str, container: Any) -> Any:
    if not container.streams.video:
        raise DataError("video-unreadable", f"{file} has no pictures", _REMEDY)
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if not 0 < width * height <= MOST_PIXELS:
        told = f"{file}: frames of {width} x {height} pixels, of which at most {MOST_PIXELS} are read"
        raise DataError("video-unreadable", told, _REMEDY)
    stream.thread_type = "AUTO"
    return stream


@lru_cache(maxsize=4)
def _reader(file: str, when: tuple[int, ...]) -> _Reader:
    return _Reader(file, _index(file, when))


class _Reader:
    """A video that stays open, decoded forwards from frame to frame, and from the last key frame after a jump."""

    _container: Any
    _stream: Any
    _frames: Iterator[Any]

    def __init__(self, file: str, index: _Index) -> None:
        self._file, self._index, self._lock = file, index, Lock()
        self._numbers = {time: number for number, time in enumerate(index.times)}
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._is_open = False
        self._last: int = -1

    def frame(self, number: int) -> np.ndarray:
        """The pixels of a frame, upright: uint8 (H, W, 3)."""
        with self._lock, _failures(self._file):
            if number >= len(self._index.times):
                count = len(self._index.times)
                raise DataError("video-unreadable", f"{self._file} has no frame {number}", f"It has {count}")
            found = self._kept.get(number) or self._decoded(number)
            if found.width * found.height > MOST_PIXELS:
                raise DataError("video-unreadable", f"{self._file}: frame {number} is too large", _REMEDY)
            return _upright(found)

    def _decoded(self, number: int) -> Any:
        """A frame by decoding forwards; where a jump misses it, from the beginning."""
        for start in (lambda: self._jump(number), self._restart):
            start()
            for frame in self._frames:
                self._last = self._last + 1 if self._index.counted else self._numbers.get(frame.pts, self._last)
                self._keep(frame)
                if self._last == number:
                    return frame
                if self._last > number:
                    break
        raise DataError("video-unreadable", f"{self._file}: frame {number} cannot be decoded", _REMEDY)

    def _keep(self, frame: Any) -> None:
        self._kept[self._last] = frame
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _jump(self, number: int) -> None:
        """Go to the last key frame before a frame, unless decoding is on its way from there or later."""
        if not self._is_open or (self._index.counted and number <= self._last):
            self._restart()
        if self._index.counted:
            return
        time, keys = self._index.times[number], self._index.keys
        key = keys[max(0, bisect.bisect_right(keys, time) - 1)] if keys else self._index.times[0]
        if number > self._last >= self._numbers.get(key, 0):
            return
        self._container.seek(key, stream=self._stream, backward=True)
        self._frames, self._last = self._container.decode(self._stream), -1

    def _restart(self) -> None:
        if self._is_open:
            self._container.close()
        self._container = _open(self._file)
        self._stream, self._is_open = _stream(self._file, self._container), True
        self._frames, self._last = self._container.decode(self._stream), -1


def _upright(frame: Any) -> np.ndarray:
    """The pixels of a decoded frame, turned as the file says: uint8 (H, W, 3)."""
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
