"""The costs of distributed work in a dry run: tasks, messages, bytes from disk, memory of a worker."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from alignedcut_cli.frame.cluster_open import local_workers
from alignedcut_cli.frame.sweep import Sweep
from alignedcut_cli.frame.sweeps import parse_shard, share_of

__all__ = ["shared_counts"]

HOPS, TASK_BYTES, WORKER_BYTES = 3, 5000, 40_000
"""Copies of the common job sent per task; bytes of a task's other messages; bytes sent to a worker before its first."""


def shared_counts(
    asked: Any, command: str, sweeps: Sequence[Sweep], *, read: int, memory: int
) -> tuple[tuple[str, str, int], ...]:
    """The rows for DryRun.counts of a command with --cluster or --shard; none without.

    `read` are the bytes that all tasks read from disk, `memory` those that a worker needs. Finished tasks do not count.
    """
    if asked.cluster is None and asked.shard is None:
        return ()
    shard = parse_shard(asked.shard) if asked.shard else None
    rows = [(sweep.what, f"tasks of {sweep.name}", len(share_of(sweep, shard))) for sweep in sweeps]
    tasks, whole = sum(count for *_, count in rows), sum(len(sweep.sizes) for sweep in sweeps)
    if asked.cluster:
        rows.append(("network", "bytes of messages, without signs of life", _message_bytes(asked, command, tasks)))
    rows.append(("disk", "bytes read", read * tasks // max(1, whole)))
    rows.append(("each worker" if asked.cluster else "this job", "bytes of main memory", memory))
    return tuple(rows)


def _message_bytes(asked: Any, command: str, tasks: int) -> int:
    """The bytes of the messages of some tasks, estimated from the size of the job; 6,500 per task, measured on loopback."""
    from alignedcut_cli.frame.cluster_run import for_workers  # loads asyncio, which no help needs
    from alignedcut_cli.frame.cluster_task import Job, versions

    job = Job(command, for_workers(asked), "0" * 64, str(asked.project.absolute()), "0" * 64, versions())
    return tasks * (HOPS * len(pickle.dumps(job)) + TASK_BYTES) + max(1, local_workers(asked.cluster)) * WORKER_BYTES
