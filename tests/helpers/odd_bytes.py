"""Odd and hostile file contents, format by format: strategies that damage a valid file, or forge one like it."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Content = st.SearchStrategy[bytes]

NAMES = st.sampled_from((
    "../../x", "../outside/secret.txt", "../outside/secret", "/etc/passwd", "..", ".", "", " ", "a\nb", "\x1b[31mred",
    "nul\0l", "half\ud800", "x" * 300, "e\u0301",
    "C:\\x", "a/../../b", "\u202egnp", "-rf", "%s {0} [bold]", "\r", "\x85next", "\ufeff", "a" * 70_000,
))  # fmt: skip
"""File names and labels that escape a folder or a line, or that a system cannot store."""
NUMBERS = st.sampled_from((-1, 0, 1, 255, 1 << 16, 1 << 31, 1 << 63, -(1 << 63), 1 << 70, 10**400, 0.5, -0.0, 1e308))
NOT_FINITE = st.sampled_from((float("nan"), float("inf"), float("-inf")))
VALUES = st.one_of(
    st.none(), st.booleans(), NUMBERS, NOT_FINITE, NAMES,
    st.sampled_from(([], {}, [[]], [{}], {"": None}, [None, "x"], {"a": {"b": []}}, [1, "2", [3]])),
)  # fmt: skip


@st.composite
def damaged(draw: Draw, valid: bytes) -> bytes:
    """A valid file truncated, with flipped bits, with inserted or appended bytes, or entirely different content."""
    how = draw(st.sampled_from(("cut", "flip", "flip", "insert", "append", "other", "double", "zero")))
    at = draw(st.integers(0, len(valid)))
    if how == "flip":
        content = bytearray(valid)
        for place in draw(st.lists(st.integers(0, max(0, len(valid) - 1)), min_size=1, max_size=8)):
            content[place : place + 1] = bytes([content[place] ^ draw(st.integers(1, 255))] if content else b"")
        return bytes(content)
    some = draw(st.binary(min_size=1, max_size=40))
    return {
        "cut": valid[:at],
        "insert": valid[:at] + some + valid[at:],
        "append": valid + some,
        "other": some,
        "double": valid + valid,
        "zero": valid[:at] + bytes(len(valid) - at),
    }[how]


def encoded(text: str) -> Content:
    """A text in some encoding, with or without a byte-order mark."""
    kinds = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7")
    return st.sampled_from(kinds).map(
        lambda kind: text.encode(kind, "surrogatepass" if kind.startswith("utf-") and kind != "utf-7" else "replace")
    )


# JSON


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [path, *(found for key in keys for found in _nodes(value[key], (*path, key)))]


@st.composite
def altered(draw: Draw, value: Any) -> Any:
    """A JSON value in which one node is changed, removed, repeated, or renamed."""
    value = json.loads(json.dumps(value))
    *way, last = (None, *draw(st.sampled_from(_nodes(value))))
    if not way:
        return draw(VALUES)
    parent = value
    for key in way[1:]:
        parent = parent[key]
    how = draw(st.sampled_from(("replace", "replace", "replace", "remove", "again", "rename")))
    if how == "replace":
        parent[last] = draw(VALUES)
    elif how == "remove":
        del parent[last]
    elif isinstance(parent, list):
        parent.insert(0, parent[last])
    else:
        parent[draw(NAMES)] = parent.pop(last) if how == "rename" else parent[last]
    return value


@st.composite
def odd_json(draw: Draw, valid: bytes) -> bytes:
    """JSON with an odd node, in an odd encoding, or nested so deeply that parsers fail."""
    how = draw(st.sampled_from(("alter", "alter", "alter", "alter", "damage", "deep", "encode")))
    if how == "damage":
        return draw(damaged(valid))
    if how == "deep":
        opening, depth = draw(st.sampled_from(("[", '{"a":', '[{"id":'))), draw(st.sampled_from((50, 2_000, 100_000)))
        return (opening * depth).encode()
    if how == "encode":
        return draw(encoded(valid.decode()))
    return json.dumps(draw(altered(json.loads(valid)))).encode()


# text

WORDS = st.one_of(
    NAMES,
    st.sampled_from((
        "nan", "inf", "-inf", "1e999", "1_000", "1,5", "1.234.567", "１２", "٣", "0x1F", "-0", "1e-400", "9" * 400,
        '"', '"a', "=1+1", "#", "NA", "\t\t", ";;;", ",,,", "sep=;", "\0\0", "0", "-1", "1:2:3", "x:99999999999:1",
        "٣:٣:٣", "0:0:0", "²", "image",
    )),
)  # fmt: skip


@st.composite
def odd_text(draw: Draw, valid: bytes) -> bytes:
    """Text with odd words or lines, in an odd encoding, with odd line endings."""
    how = draw(st.sampled_from(("word", "word", "word", "lines", "damage", "encode", "ends")))
    if how == "damage":
        return draw(damaged(valid))
    text = valid.decode()
    if how == "lines":
        text = "\n".join(draw(st.lists(WORDS, max_size=6)))
    elif how == "ends":
        text = text.replace("\n", draw(st.sampled_from(("\r", "\r\n", "\n\n", "\u2028", "", "\0\n", " \n", ",\n"))))
    elif how == "word":
        at = draw(st.integers(0, len(text)))
        separators = ("\n", ",", ";", "\t", " ", "=", '"')
        end = min((found for one in separators if (found := text.find(one, at)) >= 0), default=len(text))
        text = text[:at] + draw(WORDS) + text[end if draw(st.booleans()) else at :]
    return draw(encoded(text)) if how == "encode" else text.encode("utf-8", "surrogatepass")


# pickles and npy


class Calls:
    """Pickles to a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _hostile(value: Any) -> tuple[Any, ...]:
    return (
        value, {0: value}, {value: "V1v"} if isinstance(value, Calls) else value, {"state_dict": value}, [value],
    )  # fmt: skip


@st.composite
def pickles(draw: Draw) -> bytes:
    """Pickles that would make a folder, start a process or run code on loading, or that are broken."""
    call = draw(st.sampled_from((
        Calls(os.mkdir, "made-by-a-pickle"), Calls(os.system, "touch made-by-a-pickle"),
        Calls(eval, "open('made-by-a-pickle', 'w')"), Calls(exec, "import os; os.mkdir('made-by-a-pickle')"),
        Calls(open, "made-by-a-pickle", "w"), Calls(getattr, "", "join"), Calls(bytearray, 1 << 40),
    )))  # fmt: skip
    value = draw(st.sampled_from(_hostile(call)))
    if draw(st.booleans()):
        value = np.array(value, dtype=object)
    found = pickle.dumps(value, protocol=draw(st.sampled_from((0, 2, 4, 5))))
    opcodes = st.sampled_from((b"0", b"2", b".", b"(", b"t", b"R", b"b", b"c", b"\x93", b"h\x09", b"N", b"}", b"s"))
    if draw(st.booleans()):
        return b"\x80\x04" + b"".join(draw(st.lists(opcodes, max_size=12)))
    return draw(st.sampled_from((found, found[:-1], found[: len(found) // 2], found + found)))


SHAPES = st.sampled_from((
    (), (0,), (0, 5), (3,), (3, 4), (-1, 3), (1 << 62, 1 << 62), (1 << 20, 1 << 20), (10**6, 3_000), (1.5,), (True,),
    "x", (1,) * 70, (1 << 64,), (3, 4, 5), (2, 1 << 28),
))  # fmt: skip
DTYPES = st.sampled_from((
    "<f4", "<f8", "<f2", ">f4", ">i2", "|b1", "|u1", "<i8", "|O", "<U10", "|S3", "<M8[s]", "|V8", "<c8", "<f16", "<i0",
    "<U999999999", "nonsense", "", "|S0", [("a", "<f4")], [("a", "|O")], "<f4,<i4", 5, None, ("<f4", (2, 2)), "<m8",
))  # fmt: skip


@st.composite
def odd_npy(draw: Draw, valid: bytes) -> bytes:
    """npy files with wrong numbers, types or shapes, false headers, or pickles."""
    how = draw(st.sampled_from(("damage", "header", "header", "values", "values", "pickle", "text")))
    if how == "damage":
        return draw(damaged(valid))
    if how == "values":
        return _saved(draw(_values(np.load(io.BytesIO(valid), allow_pickle=True))))
    if how == "pickle":
        return _headed("|O", draw(st.sampled_from(((), (1,), (3, 4)))), draw(pickles()))
    header = f"{{'descr': {draw(DTYPES)!r}, 'fortran_order': {draw(st.booleans())}, 'shape': {draw(SHAPES)!r}, }}"
    if how == "text":
        header = draw(st.sampled_from(("", "{}", "[", "(" * 500, "1+1", "__import__('os').mkdir('made')", header[:-9])))
    version = draw(st.sampled_from((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09")))
    size = struct.pack("<H" if version[0] == 1 else "<I", draw(st.sampled_from((len(header) + 1,) * 4 + (9, 65_535))))
    return b"\x93NUMPY" + version + size + header.encode() + b"\n" + bytes(draw(st.sampled_from((0, 48, 4096))))


def _headed(descr: str, shape: tuple[int, ...], data: bytes) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def _saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@st.composite
def _values(draw: Draw, array: np.ndarray) -> np.ndarray:
    """An array with some non-finite or extreme numbers, in another type, transposed or truncated."""
    if array.dtype == object:
        return array
    numbers = array.dtype.kind in "biuf"
    how = draw(st.sampled_from(("some", "all", "type", "turn", "part", "fortran") if numbers else ("turn", "part")))
    if how in ("some", "all"):
        array = array.astype(np.float64)
        places = slice(None) if how == "all" else slice(0, 1 + array.size // draw(st.integers(1, 9)))
        array.reshape(-1)[places] = draw(st.one_of(NOT_FINITE, st.sampled_from((0.0, -1.0, 1e300, 1e-300, 2.5, 1e9))))
        return array
    with np.errstate(all="ignore"):
        return {
            "type": lambda: array.astype(draw(st.sampled_from(("f2", "f8", "i1", "u8", "c16", "U3", "S2", "?", "O")))),
            "turn": lambda: array.T[None] if draw(st.booleans()) else array.T,
            "part": lambda: array[: draw(st.integers(0, len(array)))],
            "fortran": lambda: np.asfortranarray(array[..., ::-1]),
        }[how]()


# archives


@st.composite
def odd_npz(draw: Draw, valid: bytes) -> bytes:
    """npz archives with an odd member, an odd name, a repeated member, or false sizes."""
    how = draw(st.sampled_from(("damage", "member", "member", "name", "twice", "lie", "bomb", "add")))
    if how == "damage":
        return draw(damaged(valid))
    with zipfile.ZipFile(io.BytesIO(valid)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = draw(st.integers(0, len(members) - 1))
    name, content = members[at]
    if how == "member":
        members[at] = (name, draw(odd_npy(content)))
    elif how == "name":
        members[at] = (_short(draw(NAMES)) + ".npy", content)
    elif how == "twice":
        members.append(members[at])
    elif how == "bomb":
        members[at] = (name, _headed("<f4", (2_000, 1_000), bytes(8_000_000)))
    elif how == "add":
        added = draw(st.sampled_from(("images", "ceiling", "rois/V1", "roi.", "rois/\x1b[31m", "../../x")))
        members.append((f"{added}.npy", draw(odd_npy(content))))
    content = zipped(members)
    if how == "lie":  # the sizes in the central directory
        place = content.rfind(b"PK\x01\x02")
        lie = struct.pack("<I", draw(st.sampled_from((0, 1, 1 << 20, 0xFFFFFFFE, 0xFFFFFFFF))))
        offset = place + draw(st.sampled_from((20, 24, 42)))
        content = content[:offset] + lie + content[offset + 4 :]
    return content


def _short(name: str) -> str:
    return name[:30_000].encode("utf-8", "replace").decode()


def zipped(members: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # about repeated names
        for name, content in members:
            archive.writestr(name or " ", content)
    return stream.getvalue()


@st.composite
def odd_pth(draw: Draw, valid: bytes) -> bytes:
    """Torch checkpoints whose pickle is hostile, alone or in torch's archive, or whose archive is odd."""
    how = draw(st.sampled_from(("damage", "pickle", "archive", "archive", "name")))
    if how == "damage":
        return draw(damaged(valid))
    if how == "pickle":
        return draw(pickles())
    with zipfile.ZipFile(io.BytesIO(valid)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = next(number for number, (name, _) in enumerate(members) if name.endswith("data.pkl"))
    if how == "name":
        at = draw(st.integers(0, len(members) - 1))
        return zipped([*members[:at], (_short(draw(NAMES)), members[at][1]), *members[at + 1 :]])
    members[at] = (members[at][0], draw(st.one_of(pickles(), damaged(members[at][1]))))
    return zipped(members)


@st.composite
def odd_safetensors(draw: Draw, valid: bytes) -> bytes:
    """safetensors with an odd JSON header, a false header length, or false tensor offsets."""
    if draw(st.booleans()):
        return draw(damaged(valid))
    length = int.from_bytes(valid[:8], "little")
    header, data = json.loads(valid[8 : 8 + length]), valid[8 + length :]
    name = draw(st.sampled_from(sorted(header)))
    how = draw(st.sampled_from(("alter", "alter", "dtype", "offsets", "length", "name", "text")))
    if how == "dtype" and name != "__metadata__":
        header[name]["dtype"] = draw(st.sampled_from(("BF16", "F8_E4M3", "C64", "F64", "U64", "BOOL", "", 3)))
    elif how == "offsets" and name != "__metadata__":
        header[name]["data_offsets"] = draw(st.lists(NUMBERS, min_size=1, max_size=3))
    elif how == "name":
        header[draw(NAMES)] = header.pop(name)
    elif how in ("alter", "dtype", "offsets"):
        header = draw(altered(header))
    text = draw(odd_json(valid[8 : 8 + length])) if how == "text" else json.dumps(header).encode()
    size = draw(NUMBERS.filter(lambda one: 0 <= one < 1 << 64 and one == int(one))) if how == "length" else len(text)
    return int(size).to_bytes(8, "little") + text + data
