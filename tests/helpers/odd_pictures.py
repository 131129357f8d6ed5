"""Odd and hostile pictures: damaged ones, bombs, odd sizes and depths, false chunks."""

from __future__ import annotations

import struct
import zlib

from hypothesis import strategies as st

from tests.helpers.odd_bytes import Draw, damaged


def png(width: int, height: int, depth: int, colour: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with any header and any data."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *chunks, (b"IDAT", data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in (*parts, (b"IEND", b""))
    )


@st.composite
def odd_picture(draw: Draw, valid: bytes) -> bytes:
    """Pictures that are damaged, of odd sizes and depths, bombs, or of a format that runs another program."""
    how = draw(st.sampled_from(("damage", "damage", "png", "png", "kind", "chunk")))
    if how == "damage":
        return draw(damaged(valid))
    if how == "kind":
        return draw(st.sampled_from((
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(made) (w) file\n", b"P6 9 9 255\n", b"P6 1 1 65536\n\0",
            b"P3 99999999 99999999 255\n", b"P5 " + b"9" * 5000, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"BM",
            b"GIF89a\xff\xff\xff\xff\x00\x00\x00", b"II*\0\x08\0\0\0\xff\xff", b"RIFF\xff\xff\xff\xffWEBPVP8X", b"\xff\xd8",
            b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"Pf 2 2 -1.0\n" + struct.pack("<4f", *[float("nan")] * 4), b"P7\n",
        )))  # fmt: skip
    zeros = zlib.compress(bytes(draw(st.sampled_from((0, 10, 5_000, 4_000_000)))))
    if how == "chunk":
        kind, content = draw(st.sampled_from((
            (b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\xff\0\0\0\0\0\0"),
            (b"eXIf", b"II*\0\xff\xff\xff\xff"),
            (b"iCCP", b"x\0\0" + zlib.compress(bytes(5_000_000))), (b"zTXt", b"x\0\0" + zlib.compress(bytes(9_000_000))),
            (b"tRNS", b"\0"), (b"PLTE", b""), (b"acTL", b"\xff" * 8), (b"\x1b[1m", b"x"), (b"pHYs", b""),
        )))  # fmt: skip
        colour, pixels = draw(st.sampled_from((0, 2, 3, 4, 6))), zlib.compress(bytes(9 * 6 * 4 + 6))
        return png(9, 6, 8, colour, pixels, (kind, content))
    side = st.sampled_from((0, 1, 6, 9, 2_000, 8_192, 8_193, 1 << 16, 1 << 31, (1 << 32) - 1))
    return png(draw(side), draw(side), draw(st.sampled_from((1, 2, 4, 8, 16, 7))), draw(st.integers(0, 7)), zeros)
