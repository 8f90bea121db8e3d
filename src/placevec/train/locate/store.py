"""What a training reads of its source, read once: images in a file where they fit, columns, and what cannot be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.files import new_array, remove, whole, write_text
from placevec.sources.base import Batch, Source

Rows = NDArray[np.int64]
Told = Callable[[int, int], None]

IMAGE = "image"
_READ = 256  # rows that are read at once


@dataclass(frozen=True, eq=False)
class Store:
    """The content of some rows of a source, by their position.

    Attributes:
        source: where images are read that are not kept.
        rows: (n,) the rows of the source.
        readable: (n,) bool.
        lost: how many rows cannot be read, by reason.
        columns: (n, ...) what is read besides images, by key.
        images: (n, bands, S, S) uint8, mapped from a file; None where they are read anew each time.
    """

    source: Source
    rows: Rows
    readable: NDArray[np.bool_]
    lost: Mapping[str, int]
    columns: Mapping[str, NDArray[Any]]
    images: NDArray[np.uint8] | None

    def read(self, at: Rows) -> NDArray[np.uint8]:
        """The images (m, bands, S, S) at positions that can be read."""
        if self.images is not None:
            return np.asarray(self.images[at])
        batch = self.source.read(self.rows[at])
        if len(batch.rows) != len(at):
            lost = batch.skipped[0]
            raise DataError(f"{lost.id}: {lost.reason}; it could be read before: put it back, or train with --restart")
        return image_of(batch)


def open_store(
    source: Source,
    rows: Rows,
    folder: Path,
    key: str,
    *,
    extras: Sequence[str] = (),
    cache_gb: float = 8.0,
    progress: Told | None = None,
) -> Store:
    """Read rows of a source, or take what an earlier call has left in `folder` under the same key.

    Args:
        source: images.
        rows: (n,) the rows wanted.
        folder: where to keep them.
        key: of the source and the rows.
        extras: further keys of its batches.
        cache_gb: images are kept if they take at most so much.
        progress: called with the rows done and all rows.

    Raises:
        UsageError: the source gives no images, or lacks one of `extras`.
        DataError: nothing can be read, or images differ in size.
    """
    mark = folder / "content.json"
    if not _kept(mark, key):
        remove(mark)
        folder.mkdir(parents=True, exist_ok=True)
        _fill(source, rows, folder, extras, cache_gb, progress)
        write_text(mark, json.dumps({"key": key}))
    with np.load(folder / "columns.npz", allow_pickle=False) as stored:
        known = {name: stored[name] for name in stored.files}
    readable = known.pop("readable")
    lost = json.loads(str(known.pop("lost")))
    columns = {name.removeprefix("column/"): values for name, values in known.items()}
    path = folder / "images.npy"
    images = np.load(path, mmap_mode="r") if path.is_file() else None
    return Store(source, rows, readable, lost, columns, images)


def image_of(batch: Batch) -> NDArray[np.uint8]:
    """The images of a batch; UsageError or DataError where there are none that a locator can look at."""
    if IMAGE not in batch.data:
        raise UsageError(
            f"a locator learns from images, and the source gives {', '.join(sorted(batch.data)) or 'nothing'}"
        )
    image = np.asarray(batch.data[IMAGE])
    if image.dtype != np.uint8 or image.ndim != 4:
        raise DataError(f"images are (n, bands, side, side) of bytes, not {image.dtype} {image.shape}")
    return image


def _kept(mark: Path, key: str) -> bool:
    try:
        return bool(json.loads(mark.read_text(encoding="utf-8"))["key"] == key)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _fill(
    source: Source, rows: Rows, folder: Path, extras: Sequence[str], cache_gb: float, progress: Told | None
) -> None:
    """Read the rows and write `images.npy`, where it fits, and `columns.npz`."""
    n = len(rows)
    readable = np.zeros(n, dtype=bool)
    lost: Counter[str] = Counter()
    columns: dict[str, NDArray[Any]] = {}
    images: NDArray[np.uint8] | None = None
    shape: tuple[int, ...] | None = None
    path = folder / "images.npy"
    remove(path)
    with whole(path) as part:
        for start in range(0, n, _READ):
            at = np.arange(start, min(start + _READ, n))
            batch = source.read(rows[at])
            found = at[_positions(rows[at], batch.rows)]
            readable[found] = True
            lost.update(one.reason for one in batch.skipped)
            if len(found):
                image = image_of(batch)
                if shape is None:
                    shape = image.shape[1:]
                    if n * image[0].nbytes <= cache_gb * 2**30:
                        images = new_array(part, np.uint8, (n, *shape))
                if image.shape[1:] != shape:
                    raise DataError(f"images of {shape} and of {image.shape[1:]} are among each other: give one size")
                if images is not None:
                    images[found] = image
                for name in extras:
                    if name not in batch.data:
                        raise UsageError(f"the source gives no {name!r}, for which the head has a branch: leave it out")
                    _put(columns, name, n, found, batch.data[name])
            if progress is not None:
                progress(int(at[-1]) + 1, n)
        if shape is None:
            reason = lost.most_common(1)[0][0] if lost else "there are none"
            raise DataError(f"none of {n} images can be read: {reason}")
        if images is None:
            part.touch()  # `whole` wants a file
        else:
            del images  # closes the map, which writes it
    if path.stat().st_size == 0:
        remove(path)
    with whole(folder / "columns.npz") as part, part.open("wb") as handle:
        named: dict[str, Any] = {f"column/{name}": values for name, values in columns.items()}
        np.savez(handle, **{"readable": readable, "lost": np.str_(json.dumps(lost)), **named})


def _put(columns: dict[str, NDArray[Any]], name: str, n: int, found: Rows, values: NDArray[Any]) -> None:
    """Keep some rows of a column; of numbers what is not known is NaN, of texts it is empty."""
    given = np.asarray(values)
    if given.dtype == object:
        given = np.array(["" if value is None else str(value) for value in given], dtype=np.str_)
    if given.dtype.kind in "biu":
        given = given.astype(np.float64)  # whole numbers have no NaN
    if name not in columns:
        texts = given.dtype.kind == "U"
        columns[name] = np.full((n, *given.shape[1:]), "" if texts else np.nan, dtype=given.dtype)
    elif given.dtype.itemsize > columns[name].dtype.itemsize:
        columns[name] = columns[name].astype(given.dtype)  # longer texts than any before
    columns[name][found] = given


def _positions(asked: Rows, found: Rows) -> Rows:
    """Where in `asked` the rows `found` stand."""
    order = np.argsort(asked, kind="stable")
    where: Rows = order[np.searchsorted(asked[order], found)]
    return where
