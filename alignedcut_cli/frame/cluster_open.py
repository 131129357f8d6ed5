"""Connecting to a cluster: the value of --cluster, and the Dask client of its scheduler."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.backbones.hub import require_package
from alignedcut_cli.core.numerics import cores
from alignedcut_cli.errors import DataError, InputMissingError, UnavailableError, UsageError, first_line
from alignedcut_cli.frame.child_processes import (
    begin_loading,
    environment,
    thread_variables,
    threads_of_each,
    without_interrupts,
)
from alignedcut_cli.store.files import disk_errors

if TYPE_CHECKING:
    from distributed import Client, Nanny, SpecCluster

__all__ = [
    "ALLOWED_FAILURES",
    "CONNECT_SECONDS",
    "begin_loading_workers",
    "connect",
    "connecting",
    "local_threads",
    "local_workers",
    "require_cluster",
]

CONNECT_SECONDS = 10
"""Seconds to wait for a scheduler."""
ALLOWED_FAILURES = 3
"""Lost local workers after which a task counts as the cause."""
_ADDRESS = re.compile(r"(tcp|tls)://[^/\s]+:\d+")
_SILENT = {
    "DASK_LOGGING__DISTRIBUTED": "critical",
    "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",  # after a killed command
}


def require_cluster(text: str, shard: str | None = None) -> None:
    """Raise UsageError for an invalid value of --cluster, or one together with --shard; UnavailableError without Dask."""
    if shard is not None:
        raise UsageError(
            "option-contradicts", f"--cluster {text} and --shard {shard} are two ways to share the work", "Give one"
        )
    if local_workers(text) == 0 and not _ADDRESS.fullmatch(text) and not text.endswith(".json"):
        raise UsageError(
            "bad-cluster",
            f"--cluster {text!r} is no place of workers",
            "Give local:N with N from 1, tcp://HOST:PORT, tls://HOST:PORT, or a scheduler file that ends in .json",
        )
    require_package("distributed", "the workers of --cluster", "cluster")


def local_workers(text: str) -> int:
    """N of local:N, else 0."""
    found = re.fullmatch(r"local:([1-9]\d{0,3})", text)
    return int(found[1]) if found else 0


def local_threads(text: str) -> tuple[int, int]:
    """The threads of one worker of local:N, and of all together, at most one a core; else (0, 0)."""
    count = local_workers(text)
    each = threads_of_each(count) if count else 0
    return each, max(each, min(cores(), count * each))


def begin_loading_workers(text: str) -> str:
    """For local:N, `begin_loading` what its workers need, which they are forked from; returns how they start."""
    count = local_workers(text)
    return begin_loading(f"{__package__}.cluster_load", _variables(count)) if count else "spawn"


@contextmanager
def connecting(text: str, *, gpu: bool) -> Iterator[Callable[[], Client]]:
    """Connect in another thread while the block does something else: a function that waits for the client of `connect`."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        yield thread.submit(lambda: stack.enter_context(connect(text, gpu=gpu))).result


@contextmanager
def connect(text: str, *, gpu: bool) -> Iterator[Client]:
    """A client of the scheduler at `text`; for local:N, of workers that start and end with the block.

    With `gpu` each of these offers one GPU. Raises UnavailableError (exit 69) if there is no answer.
    """
    count = local_workers(text)
    with contextlib.ExitStack() as stack:
        with _answering(text):
            where = stack.enter_context(_workers_here(count, gpu)) if count else _address(text)
            client = _client(where)
        stack.callback(_leave, client)
        yield client


@contextmanager
def _answering(text: str) -> Iterator[None]:
    """Convert all exceptions of Dask while connecting into one error."""
    try:
        yield
    except (OSError, TimeoutError, RuntimeError, TypeError, ValueError, ImportError) as error:
        raise UnavailableError(
            "cluster-unreachable",
            f"--cluster {text}: no Dask scheduler answers there within {CONNECT_SECONDS} s ({first_line(error)})",
            "Start one with `dask scheduler`, and give the address that it prints",
        ) from None


def _address(text: str) -> str:
    """The scheduler's address, read from its file if `text` names one. Raises InputMissingError or DataError."""
    if not text.endswith(".json"):
        return text
    if not Path(text).is_file():
        raise InputMissingError(
            "file-missing", f"--cluster {text}: there is no such file", "`dask scheduler --scheduler-file` writes it"
        )
    with disk_errors(Path(text)):
        content = Path(text).read_text(encoding="utf-8", errors="replace")
    try:
        return str(json.loads(content)["address"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            "bad-scheduler-file",
            f"--cluster {text} is no scheduler file",
            "`dask scheduler --scheduler-file` writes it",
        ) from None


def _client(where: Any) -> Client:
    from distributed import Client

    return Client(where, timeout=CONNECT_SECONDS, set_as_default=False)


def _leave(client: Client) -> None:
    """Close a client; the scheduler drops its tasks."""
    with contextlib.suppress(Exception):
        client.close(timeout=CONNECT_SECONDS)


@contextmanager
def _workers_here(count: int, gpu: bool) -> Iterator[SpecCluster]:
    """A cluster of `count` processes of one task each on this machine, on loopback, without dashboard or memory limit.

    They share its cores, and get its GPUs round-robin. A process that dies is restarted.
    """
    import dask.config
    from distributed import Nanny, Scheduler, SpecCluster

    listening = {"host": "127.0.0.1", "protocol": "tcp://", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": {**listening, "port": 0, "allowed_failures": ALLOWED_FAILURES}}
    nannies: list[Nanny] = []

    def nanny(*given: Any, **options: Any) -> Nanny:
        nannies.append(Nanny(*given, **options))
        return nannies[-1]

    method, variables = begin_loading_workers(f"local:{count}"), _variables(count)
    with environment(variables):
        settings: Any = {
            "distributed.worker.multiprocessing-method": method,
            "distributed.worker.profile.enabled": False,
            "distributed.admin.tick.interval": "500ms",  # its watch on itself takes time from the workers
            "distributed.admin.system-monitor.interval": "10s",
            "distributed.nanny.pre-spawn-environ": variables,
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            "distributed.deploy.lost-worker-timeout": "1 day",  # a process may take long to start again
        }
        with dask.config.set(settings):  # pyright: ignore[reportPrivateImportUsage]
            with without_interrupts():
                cluster = SpecCluster({}, scheduler)
            try:
                options = {**listening, "nthreads": 1, "memory_limit": None, "preload": [f"{__package__}.cluster_task"]}
                for number in range(count):
                    cluster.worker_spec[number] = {"cls": nanny, "options": options | (_gpu(number) if gpu else {})}
                cluster.scale(count)
                yield cluster
            finally:
                _end(cluster, nannies)


def _gpu(number: int) -> dict[str, Any]:
    """The options of a worker with its own GPU, if there are enough."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    there = given if given != [""] else [str(one) for one in range(torch.cuda.device_count())]
    one = there[number % len(there)] if there else ""
    return {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": one}}


def _variables(count: int) -> dict[str, str]:
    """The environment of `count` local workers."""
    return {**thread_variables(count), **_SILENT}


def _end(cluster: SpecCluster, nannies: Sequence[Nanny]) -> None:
    """Kill the workers at once, which is safe, as files are written atomically."""
    for nanny in nannies:
        nanny.close_gracefully()
        if pid := nanny.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(Exception):
        cluster.close(timeout=CONNECT_SECONDS)
