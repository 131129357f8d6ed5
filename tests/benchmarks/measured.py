"""A command in a process of its own, with its time and its peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

__all__ = ["Measured", "environment", "measured"]

_RUN = (
    "import resource, sys; from alignedcut_cli.main import main; status = main(sys.argv[1:]); "
    "used = resource.getrusage(resource.RUSAGE_SELF); "
    "print(used.ru_maxrss, used.ru_utime + used.ru_stime, file=sys.stderr); sys.exit(status)"
)


@dataclass(frozen=True)
class Measured:
    """What a command printed; seconds by the clock and of processor time; bytes of main memory at its peak."""

    out: str
    seconds: float
    processor: float
    peak: int

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, {self.processor:.0f} s of processor time, peak {self.peak / 1e9:.2f} GB"


def environment(threads: int | None = None) -> dict[str, str]:
    """This process's environment, for one that may use so many threads, or as many as there are cores."""
    own = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    told = {f"{one}_NUM_THREADS": str(threads) for one in ("OMP", "MKL", "OPENBLAS", "NUMBA")} if threads else {}
    return {**own, **told, "PYTHONWARNINGS": "ignore"}


def measured(*argv: object) -> Measured:
    """`alignedcut` with these arguments. Skips where peak memory is counted in other units."""
    if sys.platform != "linux":
        pytest.skip("peak memory is counted in other units here")
    command = [sys.executable, "-c", _RUN, *map(str, argv)]
    began = time.monotonic()
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert ran.returncode == 0, ran.stderr
    peak, processor = ran.stderr.split()[-2:]
    return Measured(ran.stdout, time.monotonic() - began, float(processor), int(peak) << 10)
