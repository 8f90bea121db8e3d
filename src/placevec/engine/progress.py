"""What an engine tells while it works, and when it is stopped."""

from __future__ import annotations

from collections.abc import Callable

from placevec.engine.fragments import Record
from placevec.engine.jobs import Job
from placevec.engine.work import Progress


def reporter(job: Job, progress: Progress | None) -> Callable[..., None]:
    """A function that counts the record of a shard, if it is given one, and calls `progress`."""

    def report(record: Record | None = None) -> None:
        if record is not None:
            job.add(record)
        if progress is not None:
            counts = job.counts()
            progress(sum(counts.values()), job.rows, counts)

    return report


def stopped(job: Job) -> KeyboardInterrupt:
    """The end of a run by Ctrl-C."""
    return KeyboardInterrupt(
        f"stopped after {len(job.records)} of {len(job.shards)} shards; the same command goes on from there"
    )
