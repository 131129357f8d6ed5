"""The names of labels, pickled in mapping_*.npy, read without executing the pickle.

A pickle is a program. Unpickling runs it; here its opcodes are read one by one, and the few that numpy.save writes for
a dict are interpreted on plain values. A global is only compared with the five that such files need, and
no opcode leads to an import, a constructor, or an allocation beyond the file's own size.
"""

from __future__ import annotations

import pickletools
import re
from pathlib import Path
from typing import Any, NoReturn

from alignedcut_cli.brain.arrays import read_npy_header
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors

__all__ = ["read_mapping"]

_LARGEST = 1 << 20
_ADMITTED = {
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy.core.multiarray scalar": "scalar",
    "numpy._core.multiarray scalar": "scalar",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "bytes",
}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MARK = object()


def read_mapping(path: Path) -> dict[int, str]:
    """{label: name} of a file that `numpy.save(path, {0: "Unknown", ...})` wrote.

    Raises DataError: pickle-refused if the pickle needs anything but dict, int, str and numpy scalars, or is longer
    than 1 MiB; mapping-unreadable if it is malformed or holds something else.
    """
    with disk_errors(path), path.open("rb") as stream:
        header = read_npy_header(stream, str(path))
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        _refuse(path, "is longer than any list of names (1 MiB)")
    if header.dtype != object or header.shape != ():
        _unreadable(path, f"holds {header.dtype} numbers")
    try:
        found = _Machine(path).run(data)
    except (ValueError, IndexError, KeyError, TypeError):
        _unreadable(path, "is cut off or broken")
    content = found.content if isinstance(found, _Array) else None
    if not isinstance(content, dict) or not content:
        _unreadable(path, "holds no dict of names")
    return content


def _refuse(path: Path, what: str) -> NoReturn:
    raise DataError(
        "pickle-refused", f"{path} {what}", "Do not load it with anything else; fetch the file from its source again"
    )


def _unreadable(path: Path, what: str) -> NoReturn:
    raise DataError(
        "mapping-unreadable", f"{path} must be a dict of labels and names, and {what}", "Fetch the file again"
    )


class _Word(str):
    """An allowed global of the pickle, as an inert marker."""


class _DType:
    """A numpy dtype under construction: its code (i8, U3, O8) and byte order."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "|"


class _Array:
    """A numpy array of one object under construction."""

    content: Any = None


class _Machine:
    """Interprets a pickle's opcodes with a stack and a memo of plain values."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """The value that the pickle leaves on its stack. Values are never hashed, compared deeply or called."""
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        return self.stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._global(argument)
        elif name in ("REDUCE", "BUILD"):
            second, first = self.stack.pop(), self.stack.pop()
            self.stack.append(self._call(first, second) if name == "REDUCE" else self._fill(first, second))
        else:
            self._collect(name)

    def _collect(self, name: str) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_LIST" | "EMPTY_DICT":
                stack.append([] if name == "EMPTY_LIST" else {})
            case "TUPLE":
                stack.append(tuple(self._down_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple([stack.pop() for _ in range(int(name[-1]))][::-1]))
            case "APPEND":
                item = stack.pop()
                self._require(stack[-1], list).append(item)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set(stack[-1], [key, value])
            case "SETITEMS":
                items = self._down_to_mark()
                self._set(stack[-1], items)
            case _:
                _refuse(self.path, f"uses the pickle opcode {name}, which no list of names needs")

    def _down_to_mark(self) -> list[Any]:
        """Pop the values above the topmost mark, in order, and the mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _set(self, target: Any, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not int or type(value) is not str:
                _unreadable(self.path, f"has {type(key).__name__}: {type(value).__name__} among its entries")
            self._require(target, dict)[key] = value

    def _require(self, value: Any, kind: type) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    def _global(self, asked: str | None) -> None:
        if asked is None:
            name, module = self.stack.pop(), self.stack.pop()
            asked = f"{self._require(module, str)} {self._require(name, str)}"
        if asked not in _ADMITTED:
            word = asked.replace(" ", ".")[:80]
            _refuse(self.path, f"asks for {word!a}: it would run code, and was not read")
        self.stack.append(_Word(_ADMITTED[asked]))

    def _call(self, word: Any, arguments: Any) -> Any:
        """The result of an allowed global for these arguments, built here from plain values."""
        if type(word) is _Word:
            match word, arguments:
                case "array", (_Word("ndarray"), (0,), bytes()):
                    return _Array()
                case "dtype", (str(code), bool() | int(), bool() | int()):
                    return _DType(code)
                case "scalar", (_DType() as dtype, bytes(data)):
                    return _scalar(dtype, data)
                case "bytes", (str(text), "latin1"):
                    return text.encode("latin1")
        _refuse(self.path, "makes something that is no dict, int, str or numpy scalar")

    def _fill(self, made: Any, state: Any) -> Any:
        match made, state:
            case _DType(), (int(), "<" | ">" | "|" as order, *_):
                made.order = order
            case _Array(), (int(), (), _DType(code="O8" | "O4" | "O"), _, [content]):
                made.content = content
            case _:
                _refuse(self.path, "makes something that is no dict, int, str or numpy scalar")
        return made


def _scalar(dtype: _DType, data: bytes) -> int | str:
    """The value of a numpy integer or text scalar. Raises ValueError for any other."""
    kind = re.fullmatch(r"([iuU])(\d{1,4})", dtype.code)
    if not kind or len(data) != int(kind[2]) * (4 if kind[1] == "U" else 1):
        raise ValueError
    big = dtype.order == ">"
    if kind[1] == "U":
        return data.decode("utf-32-be" if big else "utf-32-le").rstrip("\0")
    return int.from_bytes(data, "big" if big else "little", signed=kind[1] == "i")
