"""What every worker process needs, whoever started it: one number of threads, and errors that travel."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from placevec import errors
from placevec.errors import PlacevecError

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_MAX_THREADS",
)
ATTEMPTS = 2  # a worker that dies twice at one shard dies of that shard


def described(error: Exception) -> dict[str, Any]:
    """An error in words and numbers, to be sent to another process; see `rebuilt`."""
    return {
        "name": type(error).__name__,
        "message": str(error),
        "number": getattr(error, "errno", None),
        "file": getattr(error, "filename", None),
        "trace": traceback.format_exc(),
    }


def rebuilt(name: str, message: str, number: int | None, file: Any, trace: str) -> Exception:
    """The error that `described` described: of its class where it is one of ours or of the system."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, PlacevecError):
        return kind.__new__(kind, message)
    error = OSError(number, os.strerror(number), file) if number is not None else RuntimeError(f"{name}: {message}")
    error.add_note(f"in a worker process:\n{trace}")
    return error


@contextmanager
def environment(threads: int) -> Iterator[None]:
    """Processes that are started meanwhile compute with so many threads."""
    # Libraries read these once, when they are loaded; a child is born with them.
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def threads_here(threads: int) -> Iterator[None]:
    """This process computes with so many threads meanwhile, in the libraries that are loaded."""
    limits = importlib.import_module("threadpoolctl").threadpool_limits  # comes with scikit-learn
    torch = sys.modules.get("torch")  # asked to be quiet if it is here, never brought in
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(threads)
    try:
        with limits(threads):
            yield
    finally:
        if torch:
            torch.set_num_threads(before)
