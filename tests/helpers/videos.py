"""Small videos for the tests: every frame's grey tells its number."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

__all__ = ["SHADE", "shade_of", "write_video"]

SHADE = 4
"""How much brighter each frame is than the one before."""


def shade_of(pixels: np.ndarray) -> int:
    """The number of a frame that was written by `write_video`, from its pixels."""
    return round((float(pixels.mean()) - 20) / SHADE)


def write_video(
    path: Path,
    count: int = 40,
    codec: str = "libx264",
    form: str = "yuv420p",
    *,
    keys: int = 12,
    between: int = 2,
    size: tuple[int, int] = (32, 48),
) -> Path:
    """A video of `count` frames (rows, columns) with a key frame every `keys`, and frames shown before their reference."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = (*size, form)
        stream.codec_context.gop_size = keys
        stream.codec_context.bit_rate = 8_000_000
        if between and codec in ("libx264", "mpeg4"):
            stream.codec_context.max_b_frames = between
        for number in range(count):
            pixels = np.full((*size, 3), 20 + SHADE * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
