"""The engine of one machine: shards one after the other in this process, or by a pool of worker processes."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection as channels
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError, UnpicklingError

from placevec.engine.fragments import Record
from placevec.engine.jobs import Job, Shard
from placevec.engine.progress import reporter, stopped
from placevec.engine.work import Progress, Spec, Work, build
from placevec.engine.worker import ATTEMPTS, described, environment, rebuilt, threads_here
from placevec.errors import JobError, UsageError


@dataclass(frozen=True)
class LocalEngine:
    """Does the shards of a job on this machine.

    The table does not depend on the number of workers: each computes with the same number of `threads`, one by
    default, since sums in another order differ in their last bits.

    Args:
        workers: 1 works in this process; more are processes of their own, each of which builds source and encoder
            once.
        threads: threads of a worker for linear algebra.

    Raises:
        UsageError: a number below 1.
    """

    workers: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value < 1:
                raise UsageError(f"{name} is {value}: give at least 1")

    @property
    def in_process(self) -> bool:
        """Whether shards are done in this process, so that the work need not travel."""
        return self.workers == 1

    def run(self, job: Job, work: Work | Spec, progress: Progress | None = None) -> None:
        """Do all shards of an open `job` that are not done.

        Args:
            job: an open job, see `Job.open`.
            work: does a shard; a Spec of it, or what pickles, if there are several workers.
            progress: called at the start and after each shard.

        Raises:
            JobError: a worker died twice at one shard, or the disk is full. What is done stays.
            KeyboardInterrupt: after Ctrl-C, when all workers have ended; its text says how much is done.
        """
        report = reporter(job, progress)
        report()
        shards = job.todo()
        if not shards:
            return
        try:
            if self.workers == 1:
                with threads_here(self.threads):
                    function = build(work)
                    for shard in shards:
                        report(job.fragments.write(shard.name, function(shard.positions)))
            else:
                for record in _Pool(job, work, min(self.workers, len(shards)), self.threads).results(shards):
                    report(record)
        except KeyboardInterrupt:
            raise stopped(job) from None


@dataclass
class _Worker:
    process: SpawnProcess
    channel: Connection
    ready: bool = False
    shard: Shard | None = None


class _Pool:
    """Worker processes that each do one shard at a time."""

    def __init__(self, job: Job, work: Work | Spec, workers: int, threads: int) -> None:
        self.job = job
        self.threads = threads
        self.size = workers
        self.workers: list[_Worker] = []
        self.deaths: Counter[str] = Counter()
        try:
            self.payload = bytes(ForkingPickler.dumps((job.fragments, work)))
        except (PicklingError, TypeError, AttributeError) as error:
            raise UsageError(
                f"worker processes cannot be given this source or encoder ({error}): describe it by a Spec, or use "
                "1 worker"
            ) from error

    def results(self, shards: list[Shard]) -> Iterator[Record]:
        """The records of all shards as they are done."""
        queue = deque(shards)
        try:
            while queue or any(worker.shard for worker in self.workers):
                busy = sum(worker.shard is not None for worker in self.workers)
                while len(self.workers) < min(self.size, len(queue) + busy):
                    self.workers.append(self._start())
                for channel in channels.wait([worker.channel for worker in self.workers]):
                    worker = next(worker for worker in self.workers if worker.channel is channel)
                    record = self._receive(worker, queue)
                    if record is not None:
                        yield record
                    if worker.ready and worker.shard is None and queue:
                        self._give(worker, queue.popleft())
        finally:
            self._stop()

    def _start(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.payload), daemon=True)
        resource_tracker.ensure_running()  # it would lift the mask below
        # Ctrl-C reaches all processes of a terminal; the driver alone answers it, and stops the workers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with environment(self.threads):
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return _Worker(process, ours)

    def _give(self, worker: _Worker, shard: Shard) -> None:
        worker.shard = shard
        try:
            worker.channel.send((shard.name, shard.positions))
        except OSError:
            return  # it has died; the end of its channel will be read next

    def _receive(self, worker: _Worker, queue: deque[Shard]) -> Record | None:
        try:
            kind, value = worker.channel.recv()
        except (EOFError, OSError, UnpicklingError):
            return self._died(worker, queue)
        if kind == "failed":
            raise rebuilt(**value)
        worker.ready = True
        if kind == "ready":
            return None
        worker.shard = None
        record: Record = value
        return record

    def _died(self, worker: _Worker, queue: deque[Shard]) -> Record | None:
        self.workers.remove(worker)
        worker.process.join()
        worker.channel.close()
        code = worker.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        shard = worker.shard
        if shard is None:
            if worker.ready:
                return None  # it had nothing to do; another is started if there is something
            raise JobError(
                f"a worker process ended while it started ({how}): a script that uses workers begins its work under "
                '`if __name__ == "__main__":`'
            )
        record = self.job.fragments.done(shard.name)
        if record is not None:
            return record
        self.deaths[shard.name] += 1
        if self.deaths[shard.name] >= ATTEMPTS:
            raise JobError(
                f"the worker of {shard.name} died {ATTEMPTS} times ({how}; 9 is mostly a lack of memory): run the same "
                "again with fewer workers or a smaller batch, what is done stays"
            )
        queue.appendleft(shard)
        return None

    def _stop(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.channel.close()
            worker.process.close()
        self.workers = []


def _serve(channel: Connection, payload: bytes) -> None:
    """The life of a worker process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        fragments, work = ForkingPickler.loads(payload)  # from our parent, over a pipe
        function = build(work)
        channel.send(("ready", None))
        while True:
            name, positions = channel.recv()
            channel.send(("done", fragments.write(name, function(positions))))
    except EOFError:
        return
    except Exception as error:
        channel.send(("failed", described(error)))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        channels.wait([parent.sentinel])
        # Nobody waits for the shard any more, and the next driver may be at it already.
        os._exit(1)
