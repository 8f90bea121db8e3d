"""Independent pieces of work side by side: threads, each with one thread of linear algebra.

numpy and LAPACK let go of Python's lock, so that threads share the features and still use all cores. One thread of
BLAS each: small matrices gain little from more, several at once would fight for the cores, and the order of summing
then does not depend on the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")


def workers() -> int:
    """The cores that this process may use; OMP_NUM_THREADS, where it is set, is a limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(told)) if told.isdigit() else cores)


def in_parallel(work: Sequence[Callable[[], T]]) -> Iterator[T]:
    """The results in the order of `work`; the first error is raised, and what has not begun by then is not begun."""
    count = min(workers(), len(work))
    with threadpool_limits(limits=1, user_api="blas"):
        if count <= 1:
            for one in work:
                yield one()
            return
        pool = ThreadPoolExecutor(count)
        try:
            futures = [pool.submit(one) for one in work]
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
