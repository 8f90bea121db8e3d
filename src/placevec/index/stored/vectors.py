"""The vectors that an index keeps: one .npy file, written front to back, read by mapping it into memory.

float16 of length 1 for cosine: half the bytes, and scores within some 1e-5 of those of float32. For dot and l2, where
lengths count and may exceed what half floats hold, the values stay float32. A float16 table is kept bit by bit
wherever its vectors are what is compared.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from placevec.errors import CheckpointError, SchemaError
from placevec.index.faiss.common import prepared
from placevec.provenance import TableMeta
from placevec.table import EmbeddingTable

VECTORS = "vectors.npy"
_COPY = 4 << 20


def kept_dtype(meta: TableMeta) -> np.dtype[Any]:
    """How vectors of a table are kept."""
    half = meta.space.metric == "cosine" or meta.dtype == "float16"
    return np.dtype(np.float16 if half else np.float32)


def keeps_all(meta: TableMeta) -> bool:
    """Whether what is kept of a table scores as its own vectors do, to the last bit."""
    return (
        meta.codec is None
        and meta.dtype == kept_dtype(meta).name
        and (meta.space.metric != "cosine" or meta.normalized)
    )


def kept(piece: EmbeddingTable) -> NDArray[Any]:
    """The vectors (n, d) of a piece of a table in the form in which they are kept.

    Raises:
        SchemaError: a value is not finite; the message names the row.
    """
    meta = piece.meta
    as_stored = meta.dtype == "float16" and (meta.space.metric != "cosine" or meta.normalized)
    vectors: NDArray[Any] = piece.raw if as_stored else prepared(piece.vectors(), meta.space).astype(kept_dtype(meta))
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise SchemaError(
            f"the vector of {str(piece.ids[int(np.argmax(bad))])!r} holds values that are not finite: make or import "
            "the table again"
        )
    return vectors


class VectorsFile:
    """Writes vectors (n, d) of which n is not known before; nothing of them stays in memory.

    Args:
        path: the .npy file.
        dtype: of the values.
        dims: d.
        old: the file of vectors that come first.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], dims: int, old: Path | None = None) -> None:
        self.path = path
        self.dtype = dtype
        self.dims = dims
        self.rows = 0
        self._file: BinaryIO = path.open("wb")
        self._begin = self._header(0)
        if old is not None:
            self._copy(old)

    def add(self, vectors: NDArray[Any]) -> None:
        """Append rows."""
        self._file.write(np.ascontiguousarray(vectors, dtype=self.dtype).data)
        self.rows += len(vectors)

    def close(self) -> None:
        """Say in the header how many rows there are."""
        with self._file:
            self._file.seek(0)
            # numpy leaves room in a header for the array to grow, so it takes as many bytes as before.
            assert self._header(self.rows) == self._begin

    def _header(self, rows: int) -> int:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (rows, self.dims)}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def _copy(self, old: Path) -> None:
        with old.open("rb") as source:
            np.lib.format.read_magic(source)
            (self.rows, _), _, _ = np.lib.format.read_array_header_1_0(source)
            shutil.copyfileobj(source, self._file, _COPY)


def widened(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Finite float16 or float32 as float32: what `astype` gives, some four times as fast as numpy does it."""
    if vectors.dtype != np.float16:
        return vectors.astype(np.float32, copy=False)
    # Sign, exponent and fraction move to their places; the exponent is then 112 too small, of subnormal numbers too.
    bits = np.ascontiguousarray(vectors).view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)
    wide: NDArray[np.float32] = bits.view(np.float32)
    wide *= np.float32(2.0**112)
    return wide


def read_vectors(path: Path, first: int, step: int) -> Iterator[NDArray[Any]]:
    """The vectors of a file from row `first` on, at most `step` at a time; mapped, all would stay in memory."""
    with path.open("rb") as source:
        np.lib.format.read_magic(source)
        (rows, dims), _, dtype = np.lib.format.read_array_header_1_0(source)
        source.seek(first * dims * dtype.itemsize, os.SEEK_CUR)
        for start in range(first, rows, step):
            count = min(step, rows - start)
            yield np.fromfile(source, dtype, count * dims).reshape(count, dims)


def map_vectors(path: Path, shape: tuple[int, int], dtype: np.dtype[Any], remedy: str) -> NDArray[Any]:
    """The vectors of a file, mapped; CheckpointError if it does not hold those that are expected."""
    if not shape[0]:
        return np.empty(shape, dtype=dtype)
    try:
        vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}): {remedy}") from None
    if vectors.shape != shape or vectors.dtype != dtype:
        raise CheckpointError(f"{path} holds {vectors.dtype} {vectors.shape}, not {dtype} {shape}: {remedy}")
    return np.asarray(vectors)
