"""Arrays that are computed once, row by row, and kept beside a run: decoded images, features of frozen encoders."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.files import new_array, remove, write_text

Told = Callable[[int, int], None]
Compute = Callable[[int, int], NDArray[Any]]
"""Rows `start` to `stop` of the array."""


def cached(
    path: Path,
    key: str,
    shape: tuple[int, ...],
    dtype: Any,
    compute: Compute,
    *,
    step: int,
    progress: Told | None = None,
) -> NDArray[Any]:
    """An array in a file, of which `compute` gives the rows that are not there yet.

    A computation that was killed goes on after the last step that was written. What belongs to another key is made
    anew.

    Args:
        path: of the .npy file; what is done of it stands in a .json beside it.
        key: of what it is computed from.
        shape: of the array.
        dtype: of the array.
        compute: gives some rows.
        step: rows computed at once, and between two marks of what is done.
        progress: called with the rows done and all rows.

    Returns:
        the array, mapped into memory and not writable.
    """
    mark = path.with_suffix(".json")
    about = {"key": key, "shape": list(shape), "dtype": np.dtype(dtype).str}
    done = _done(mark, about)
    if done is None or not path.is_file():
        done = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whoever still has the old file in its memory keeps it: a file that is cut short there ends the process.
        remove(mark)
        remove(path)
        new_array(path, np.dtype(dtype), shape).flush()
    if done < shape[0]:
        rows = np.load(path, mmap_mode="r+")
        for start in range(done, shape[0], step):
            stop = min(start + step, shape[0])
            rows[start:stop] = compute(start, stop)
            rows.flush()
            write_text(mark, json.dumps({**about, "done": stop}))
            if progress is not None:
                progress(stop, shape[0])
        del rows
    found: NDArray[Any] = np.load(path, mmap_mode="r")
    return found


@contextlib.contextmanager
def turns(folder: Path) -> Iterator[None]:
    """Wait until no other process works in `folder`: of several that train together, one reads and the others find."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".turn", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # ends the lock; so does the end of the process, however it ends


def _done(mark: Path, wanted: dict[str, Any]) -> int | None:
    """Rows done of the array that is wanted; None where there is another one, or none."""
    try:
        about = json.loads(mark.read_text(encoding="utf-8"))
        done = int(about.pop("done"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return done if about == wanted else None
