"""The structures of faiss behind each kind of index: how they are made, extended, stored, read and asked.

They are asked for candidates only; the index scores those again by the vectors it keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from placevec.errors import CheckpointError, DataError
from placevec.index.base import Rows, Vectors
from placevec.index.faiss.common import (
    cell_parameters,
    default_cells,
    faiss_package,
    one_thread,
    prepared,
    selector,
    trained_by_cells,
)
from placevec.index.stored.cells import centres_of
from placevec.index.stored.settings import IndexSettings
from placevec.index.stored.vectors import read_vectors
from placevec.provenance import Space

STRUCTURE = "index.faiss"
_PURPOSE = "an index that is kept"
_ADD_BYTES = 16 << 20  # of float32 vectors handed to faiss at a time
_SCAN_BYTES = 8 << 20  # of kept vectors compared at a time: they stay in the processor's cache
_SAMPLE = 32_768  # vectors from which the range of each component is learned
_TRAIN_PER_CELL = 64  # vectors for k-means: with 40 for a cell 2 % of the neighbours were lost at a million rows
_PROBES, _EF = 64, 128  # where nothing was set and nothing measured
_HEADROOM = 0.1  # of that range, on both sides: what comes in later is cut off beyond it
# From so many queries on their nearest cells are found together, up to this share of the cells.
_MANY, _SORTED = 8, 1 / 4
_Bits = NDArray[np.bool_]


class Finder(Protocol):
    """Finds slots that are probably near; which of them are, is for the index to say.

    Attributes:
        filters: whether it finds them as well where a filter has left out what lies around the query.
    """

    filters: bool

    def find(self, queries: Vectors, count: int, allowed: _Bits | None) -> Rows:
        """Slots (q, count) int64 for each of the `queries` (q, d, prepared), -1 where there are fewer.

        `allowed` (slots,) says which may be found; None: all.
        """


class FlatFinder:
    """Compares all vectors, block by block as they lie in the file: nothing is built.

    Args:
        vectors: (n, d) float16 or float32, mapped.
        space: their Space.
    """

    filters = True

    def __init__(self, vectors: NDArray[Any], space: Space) -> None:
        self._faiss = faiss_package(_PURPOSE)
        self._vectors = vectors
        self._metric = _metric(self._faiss, space)

    def find(self, queries: Vectors, count: int, allowed: _Bits | None) -> Rows:
        """See `Finder.find`."""
        vectors, far = self._vectors, np.float32(np.inf)
        step = max(1, _SCAN_BYTES // (vectors.shape[1] * vectors.dtype.itemsize))
        best = np.full((len(queries), count), far, dtype=np.float32)
        slots = np.full((len(queries), count), -1, dtype=np.int64)
        # Negated where larger is better, so that the least is the best in both cases.
        sign = np.float32(1 if self._metric == self._faiss.METRIC_L2 else -1)
        for start in range(0, len(vectors), step):
            within = None if allowed is None else allowed[start : start + step]
            if within is not None and not within.any():
                continue
            raw, near = self._block(vectors[start : start + step], queries, count, within)
            best = np.concatenate([best, np.where(near < 0, far, sign * raw)], axis=1)
            slots = np.concatenate([slots, np.where(near < 0, -1, near + start)], axis=1)
            first = np.argpartition(best, count - 1, axis=1)[:, :count]
            best, slots = np.take_along_axis(best, first, axis=1), np.take_along_axis(slots, first, axis=1)
        return slots

    def _block(self, block: NDArray[Any], queries: Vectors, count: int, within: _Bits | None) -> tuple[Vectors, Rows]:
        faiss, (rows, dims) = self._faiss, block.shape
        chosen = None if within is None else faiss.SearchParameters(sel=selector(faiss, within))
        if block.dtype == np.float16:
            holder = faiss.IndexScalarQuantizer(dims, faiss.ScalarQuantizer.QT_fp16, self._metric)
            # What is kept is what this quantizer would make of the vectors: handed over as it is.
            holder.add_sa_codes(np.ascontiguousarray(block).view(np.uint8).reshape(rows, 2 * dims))
        else:
            holder = faiss.IndexFlat(dims, self._metric)
            holder.add(np.ascontiguousarray(block))
        raw, near = holder.search(queries, min(count, rows), params=chosen)
        return raw, near


class GraphFinder:
    """A graph of near neighbours in layers (Malkov, Yashunin, 2018), its vectors at 8 bits a component.

    A walk ends where all that is in sight is left out: where a filter leaves out the query's own region, half of the
    neighbours were missed.
    """

    filters = False

    def __init__(self, index: Any, settings: IndexSettings) -> None:
        self._faiss = faiss_package(_PURPOSE)
        self._index = index
        self._ef = settings.ef or _EF

    def find(self, queries: Vectors, count: int, allowed: _Bits | None) -> Rows:
        """See `Finder.find`."""
        sight, chosen = max(self._ef, count), None
        if allowed is not None:
            chosen = selector(self._faiss, allowed)
            # Nodes that may not be found are walked through and take room among those in sight.
            may = max(1, int(np.count_nonzero(allowed)))
            sight = min(len(allowed), -(-sight * len(allowed) // may))
        parameters = self._faiss.SearchParametersHNSW(efSearch=sight, sel=chosen)
        return np.asarray(self._index.search(queries, count, params=parameters)[1], dtype=np.int64)


class CellFinder:
    """An inverted file (Jégou, Douze, Schmid, 2011): a query looks into the cells whose centres are nearest."""

    filters = True

    def __init__(self, index: Any, settings: IndexSettings) -> None:
        self._faiss = faiss_package(_PURPOSE)
        self._index = index
        self._probes = settings.probes or _PROBES
        product = index.metric_type == self._faiss.METRIC_INNER_PRODUCT and hasattr(index, "search_preassigned_c")
        self._centres = centres_of(index) if product else None

    def find(self, queries: Vectors, count: int, allowed: _Bits | None) -> Rows:
        """See `Finder.find`."""
        cells, rows = self._index.nlist, self._index.ntotal if allowed is None else len(allowed)
        parameters = cell_parameters(self._faiss, cells, self._probes, count, allowed, rows)
        if self._centres is None or len(queries) < _MANY or parameters.nprobe > _SORTED * cells:
            return np.asarray(self._index.search(queries, count, params=parameters)[1], dtype=np.int64)
        # faiss takes three times as long to find the cells of many queries as numpy does.
        close = queries @ self._centres.T
        near = np.argpartition(close, cells - parameters.nprobe, axis=1)[:, cells - parameters.nprobe :]
        products = np.take_along_axis(close, near, axis=1)
        order = np.argsort(-products, axis=1)
        near, products = np.take_along_axis(near, order, axis=1), np.take_along_axis(products, order, axis=1)
        return self._in_cells(queries, count, near, products, parameters)

    def _in_cells(self, queries: Vectors, count: int, cells: Rows, products: Vectors, parameters: Any) -> Rows:
        """What is found in the `cells` (q, p) of each query, whose centres have these `products` with it."""
        at, shape = self._faiss.swig_ptr, (len(queries), count)
        slots, scores = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
        # The function of C++: what faiss wraps around it in Python leaves the parameters out.
        search = self._index.search_preassigned_c
        inputs = (at(queries), count, at(cells), at(products))
        search(len(queries), *inputs, at(scores), at(slots), False, parameters)
        return slots


def read_finder(
    path: Path, vectors: NDArray[Any], live: int, space: Space, settings: IndexSettings, remedy: str
) -> Finder:
    """The finder of an index whose kind has a structure.

    Args:
        path: that structure.
        vectors: those kept.
        live: how many of them belong to rows that are there.
        space: their Space.
        settings: kind and numbers.
        remedy: the next step where the structure cannot be read, as the end of the message.

    Raises:
        CheckpointError: the structure cannot be read, or does not fit the vectors.
        MissingExtra: faiss is not installed.
    """
    index = read_structure(path, settings, remedy, mapped=True)
    graph = settings.kind == "hnsw"
    expected = (len(vectors) if graph else live, space.dims)
    if (index.ntotal, index.d) != expected:
        raise CheckpointError(f"{path} holds vectors {(index.ntotal, index.d)}, not {expected}: {remedy}")
    return GraphFinder(index, settings) if graph else CellFinder(index, settings)


def read_structure(path: Path, settings: IndexSettings, remedy: str, *, mapped: bool) -> Any:
    """What faiss wrote, mapped or (to be changed) in memory; CheckpointError if it is not what `settings` say."""
    faiss = faiss_package(_PURPOSE)
    flags = 0
    if mapped:
        # Graphs are mapped since faiss 1.11; before that they are read.
        flags = faiss.IO_FLAG_MMAP if settings.kind != "hnsw" else getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
    try:
        index = faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise CheckpointError(f"{path} cannot be read ({str(error).splitlines()[0][-120:]}): {remedy}") from None
    if hasattr(index, "hnsw") != (settings.kind == "hnsw"):
        raise CheckpointError(f"{path} holds {type(index).__name__}, not what {settings.kind!r} needs: {remedy}")
    if mapped and settings.kind != "hnsw":
        lists = faiss.downcast_InvertedLists(index.invlists)
        if hasattr(lists, "prefetch_nthread"):
            lists.prefetch_nthread = 0  # starting threads takes longer than the few cells do
    return index


def write_structure(index: Any, path: Path) -> None:
    """Write the structure; DataError if that fails, as on a full disk."""
    try:
        faiss_package(_PURPOSE).write_index(index, str(path))
    except RuntimeError as error:
        raise DataError(f"{path} cannot be written ({str(error).splitlines()[0][-120:]}): is the disk full?") from None


def built(path: Path, rows: int, dtype: np.dtype[Any], space: Space, settings: IndexSettings) -> Any:
    """An empty structure that has learned from a file of vectors.

    Args:
        path: the file.
        rows: how many vectors it holds, at least one.
        dtype: in which they are kept.
        space: their Space.
        settings: kind, which is not flat, and numbers.
    """
    faiss, dims = faiss_package(_PURPOSE), space.dims
    if settings.kind == "hnsw":
        # Of vectors of length 1 product and distance rank alike; at 8 bits the product takes two thirds of the time.
        graph = faiss.IndexHNSWSQ(dims, faiss.ScalarQuantizer.QT_8bit, settings.m, _metric(faiss, space))
        graph.hnsw.efConstruction = settings.ef_build
        faiss.downcast_index(graph.storage).sq.rangestat_arg = _HEADROOM
        graph.train(_sample(path, rows, _SAMPLE, space))
        return graph
    cells, metric = min(rows, settings.cells or cells_of(rows)), _metric(faiss, space)
    centres = faiss.IndexFlat(dims, metric)
    if settings.kind == "ivf" and dtype == np.float32:
        index = faiss.IndexIVFFlat(centres, dims, cells, metric)
    else:
        bits = faiss.ScalarQuantizer.QT_fp16 if settings.kind == "ivf" else faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(centres, dims, cells, bits, metric)
        index.sq.rangestat_arg = _HEADROOM
    trained_by_cells(index, _TRAIN_PER_CELL).train(_sample(path, rows, max(_SAMPLE, _TRAIN_PER_CELL * cells), space))
    return index


def cells_of(rows: int) -> int:
    """About 4 √n cells, a power of 2: twice what an index in memory has, for it is built once and asked often."""
    cells = default_cells(rows)
    return cells if cells == 1 else 2 * cells


def extend(index: Any, path: Path, first: int, space: Space) -> Iterator[int]:
    """Add the vectors of a file from slot `first` on, in order; yields, now and then, how many slots are in."""
    faiss = faiss_package(_PURPOSE)
    graph, slot = hasattr(index, "hnsw"), first
    for kept in read_vectors(path, first, max(1, _ADD_BYTES // (4 * space.dims))):
        piece = prepared(kept, space)
        if graph:
            with one_thread(faiss):
                index.add(piece)
        else:
            index.add_with_ids(piece, np.arange(slot, slot + len(piece), dtype=np.int64))
        slot += len(piece)
        yield slot


def without(index: Any, slots: Rows) -> None:
    """Take slots out of an inverted file; in a graph they stay and are not asked for."""
    if len(slots) and not hasattr(index, "hnsw"):
        index.remove_ids(np.ascontiguousarray(slots, dtype=np.int64))


def _sample(path: Path, rows: int, most: int, space: Space) -> Vectors:
    """At most `most` of the vectors of a file, spread evenly: the same ones whenever it is asked."""
    count, block = min(rows, most), max(1, _ADD_BYTES // (4 * space.dims))
    wanted = np.arange(count) * rows // count
    parts = []
    for at, piece in enumerate(read_vectors(path, 0, block)):
        low, high = np.searchsorted(wanted, (at * block, at * block + len(piece)))
        parts.append(piece[wanted[low:high] - at * block])
    return prepared(np.concatenate(parts), space)


def _metric(faiss: Any, space: Space) -> int:
    return int(faiss.METRIC_L2 if space.metric == "l2" else faiss.METRIC_INNER_PRODUCT)
