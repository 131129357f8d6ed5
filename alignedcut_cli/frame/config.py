"""Values from outside the command line (alignedcut.toml, available memory), and the parsing of options' values."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import ConfigError, UnavailableError, UsageError
from alignedcut_cli.store.files import disk_errors

if TYPE_CHECKING:
    import torch

__all__ = [
    "CONFIG_FILE",
    "available_memory",
    "memory_bytes",
    "option_defaults",
    "parse_alphas",
    "parse_layers",
    "project_argument",
    "require_folder",
    "resident_memory",
    "resolve_device",
]

CONFIG_FILE = "alignedcut.toml"
SHARED_OPTIONS = ("device", "memory", "seed", "overwrite", "dry_run", "verify", "json", "quiet", "verbose")
PROJECT_VARIABLE = "ALIGNEDCUT_PROJECT"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_GRAIN = 256 << 20
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(%|(?:([KMGT])(?:i?B)?)|B)?", re.IGNORECASE)


def available_memory() -> int:
    """Main memory in bytes still available to this process: the machine's free memory, within its cgroup's limit."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        free = int(found[1]) << 10 if found else free
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, int(text))
    return free


def resident_memory() -> int:
    """Resident memory of this process in bytes, rounded up to 256 MiB so that it hardly varies between runs."""
    held = Path("/proc/self/statm")
    if held.is_file():
        count = int(held.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    else:
        import resource

        count = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on a Mac
    return -(-count // _GRAIN) * _GRAIN


def memory_bytes(text: str, available: int | None = None) -> int:
    """The bytes that `--memory` means: `8GiB`, `500MB` (both in powers of 1024) or `50%` of what is available."""
    match = _SIZE.fullmatch(text.strip())
    if not match or float(match[1]) <= 0:
        raise UsageError("bad-memory", f"--memory {text!r} is no size", "Give for example 8GiB or 50%")
    if match[2] == "%":
        if float(match[1]) > 100:
            raise UsageError("bad-memory", f"--memory {text} is over 100%", "Give at most 100%")
        whole = available if available is not None else available_memory()
        return int(whole * float(match[1]) / 100)
    return int(float(match[1]) * _UNITS[(match[3] or "").upper()])


def project_argument(args: Sequence[str]) -> Path:
    """The project directory of a command line: --project, else the environment variable, else the current directory."""
    given = os.environ.get(PROJECT_VARIABLE) or "."
    for number, argument in enumerate(args):
        if argument == "--":
            break
        if argument == "--project" and number + 1 < len(args):
            given = args[number + 1]
        elif argument.startswith("--project="):
            given = argument.partition("=")[2]
        elif short := re.fullmatch(r"-[qv]*p(.*)", argument, re.DOTALL):
            given = short[1] or (args[number + 1] if number + 1 < len(args) else given)
    return Path(given)


def require_folder(option: str, folder: Path) -> None:
    """Raise UsageError if a folder cannot exist because it, or one of its parents, is a file."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there and not there.is_dir():
        raise UsageError("not-a-folder", f"{option} {folder}: {there} is a file", "Give a folder, new or of a project")


def option_defaults(project: Path, command: str, options: Sequence[str], commands: Sequence[str]) -> dict[str, Any]:
    """The defaults that `alignedcut.toml` sets for a command's options: [defaults] for all commands, then [COMMAND].

    Raises ConfigError (exit 78) for invalid TOML, an unknown table, or a key that is not an option: of all commands in
    [defaults], of its own in [COMMAND].
    """
    path = project / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        with disk_errors(path):
            parsed = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config-unreadable", f"{path}: {error}", "Correct the file, or remove it") from None
    for table in parsed:
        if table != "defaults" and table not in commands:
            known = ", ".join(["defaults", *commands])
            raise ConfigError("config-unknown", f"{path}: there is no table [{table}]", f"Use one of: {known}")
    shared = _section(path, parsed, "defaults", SHARED_OPTIONS)
    own = _section(path, parsed, command, options)
    named = {key.replace("-", "_"): value for key, value in {**shared, **own}.items()}
    return {key: value for key, value in named.items() if key in options}


def _section(path: Path, parsed: Mapping[str, Any], name: str, options: Sequence[str]) -> Mapping[str, Any]:
    section = parsed.get(name, {})
    if not isinstance(section, dict):
        raise ConfigError("config-unknown", f"{path}: {name} is no table", f"Write it as [{name}]")
    for key in section:
        if key.replace("-", "_") not in options:
            known = ", ".join(sorted(option.replace("_", "-") for option in options))
            raise ConfigError("config-unknown", f"{path}: [{name}] has no option {key!r}", f"Use one of: {known}")
    return section


def resolve_device(text: str, cluster: str | None = None) -> torch.device:
    """The device that `--device` means; `auto` takes CUDA, then MPS, then the CPU of this machine.

    Raises UnavailableError (exit 69) if a device requested by name is missing: there is no silent fallback. With a `cluster`
    of other machines it is theirs, and need not be here.
    """
    import torch

    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if text == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    match = re.fullmatch(r"(cpu|cuda|mps)(?::(\d+))?", text)
    if not match:
        raise UsageError("bad-device", f"--device {text!r} is no device", "Give auto, cpu, cuda, cuda:N or mps")
    if int(match[2] or 0) >= there[match[1]] and (cluster is None or cluster.startswith("local:")):
        raise UnavailableError("device-missing", f"there is no device {text} here", "Give --device cpu, or auto")
    return torch.device(text)


def parse_layers(text: str, depth: int) -> list[int]:
    """The layers, ascending, that `all` or a list such as `0,3,5-9` means in a model of `depth` blocks."""
    if text == "all":
        return list(range(depth))
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UsageError(
                "bad-layers", f"--layers {text!r} is no list of layers", "Give all, or for example 0,3,5-9"
            )
        if int(last or first) >= depth:
            highest = int(last or first)
            raise UsageError(
                "bad-layers", f"--layers {text}: there is no layer {highest}", f"Layers are 0 to {depth - 1}"
            )
        chosen.update(range(int(first), int(last or first) + 1))
    return sorted(chosen)


def parse_alphas(text: str) -> list[float]:
    """The penalties of LOW:HIGH:COUNT, log-spaced, or of a list such as 1,10,100."""
    try:
        if ":" in text:
            low, high, count = text.split(":")
            first, last, number = math.log10(float(low)), math.log10(float(high)), int(count)
            if not 1 <= number <= 1000 or last < first or (number == 1 and last > first):
                raise ValueError
            steps = [first + (last - first) * step / max(1, number - 1) for step in range(number)]
            found = [float(f"{10**step:.12g}") for step in steps]
        else:
            found = sorted(float(part) for part in text.split(","))
    except (ValueError, OverflowError):
        found = []
    if not found or not all(0 < one < 1e30 for one in found) or len(set(found)) < len(found):
        raise UsageError(
            "bad-alphas", f"--alphas {text!r} cannot be", "Give LOW:HIGH:COUNT such as 1e-1:1e5:7, or 1,10,100"
        )
    return found
