"""The contract of an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from placevec.errors import SpaceMismatch, StaleIndex, UsageError
from placevec.index.base import Index
from placevec.provenance import Metric, Space
from placevec.table import EmbeddingTable, Filter, Places
from placevec.testing.raises import raises

_TOLERANCE = 2e-5


def check_index(
    make_index: Callable[[EmbeddingTable], Index],
    *,
    metrics: Sequence[Metric] = ("cosine", "dot", "l2"),
    dtypes: Sequence[str] = ("float32", "float16", "int8"),
    recall: float = 0.99,
) -> None:
    """Hold an index against the contract of `placevec.index.base`.

    Args:
        make_index: builds the index of a table.
        metrics: those that it knows.
        dtypes: the storage types of tables that it takes.
        recall: the share of true neighbours that an approximate index must find; an exact one must find all.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    for metric in metrics:
        for dtype in dtypes:
            table = sample_table(metric=metric, dtype=dtype)
            index = make_index(table)
            what = f"[{metric}, {dtype}] "
            _says_what_it_is(index, table, what)
            _finds_the_best(index, table, recall, what)
            _keeps_to_rows(index, table, recall, what)
            _pads(index, table, what)
            _repeats_itself(index, table, what)
    metric, dtype = metrics[0], dtypes[0]
    table = sample_table(metric=metric, dtype=dtype)
    _refuses(make_index(table), table)
    _knows_its_table(make_index(table), table)
    _takes_an_empty_table(make_index, sample_table(metric=metric, dtype=dtype).take([]))


def sample_table(n: int = 260, d: int = 12, *, metric: Metric = "cosine", dtype: str = "float32") -> EmbeddingTable:
    """A table with what makes trouble: both sides of the antimeridian, rows without geometry, equal vectors."""
    rng = np.random.default_rng(7)
    lon = np.where(rng.random(n) < 0.5, rng.uniform(174, 180, n), rng.uniform(-180, -174, n))
    lat = rng.uniform(-20, 20, n)
    geometry: NDArray[np.object_] = np.asarray(shapely.points(lon, lat), dtype=object)
    geometry[::13] = None
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    vectors[5::29] = vectors[5]
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = Places.create(
        [f"row-{i:03d}" for i in range(n)], geometry=geometry, attributes={"elevation": rng.uniform(0, 3000, n)}
    )
    return EmbeddingTable.of(places, vectors, Space.mint(d, metric=metric), dtype=dtype, tower="image")


def brute_force(table: EmbeddingTable, queries: NDArray[Any]) -> NDArray[np.float64]:
    """The scores (q, n) of all pairs, by the definition of each metric in float64: slow and obvious."""
    v, q = table.vectors().astype(np.float64), np.asarray(queries, dtype=np.float64)
    if table.space.metric == "l2":
        return np.asarray(-np.sqrt(((q[:, None, :] - v[None, :, :]) ** 2).sum(axis=2)))
    scores = (q[:, None, :] * v[None, :, :]).sum(axis=2)
    if table.space.metric == "cosine":
        lengths = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(v, axis=1)[None, :]
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
    return np.asarray(scores)


def _queries(table: EmbeddingTable) -> NDArray[np.float32]:
    others = np.random.default_rng(11).standard_normal((6, table.dims)).astype(np.float32)
    return np.concatenate([table.vectors(np.array([0, 5, 100])), others])


def _says_what_it_is(index: Index, table: EmbeddingTable, what: str) -> None:
    assert isinstance(index.name, str), f"{what}`name` is a word"
    assert index.name, f"{what}`name` is not empty"
    assert isinstance(index.exact, bool), f"{what}`exact` is True or False"
    assert index.space == table.space, f"{what}`space` is {index.space}, that of the table {table.space}"
    assert index.tower == table.meta.tower, f"{what}`tower` is {index.tower!r}, that of the table {table.meta.tower!r}"
    assert index.num_rows == len(table), f"{what}`num_rows` is {index.num_rows} of {len(table)}"
    assert index.fingerprint == table.fingerprint(), f"{what}`fingerprint` is not that of the table"


def _finds_the_best(index: Index, table: EmbeddingTable, recall: float, what: str) -> None:
    queries = _queries(table)
    truth = brute_force(table, queries)
    for k in (1, 10, 40):
        rows, scores = index.search(queries, k)
        _well_formed(rows, scores, len(queries), k, what)
        _match(index, rows, scores, truth, np.arange(len(table)), recall, f"{what}the best {k}: ")
        if index.exact:
            _ties_by_row(rows, table, what)


def _keeps_to_rows(index: Index, table: EmbeddingTable, recall: float, what: str) -> None:
    queries = _queries(table)
    truth = brute_force(table, queries)
    rng = np.random.default_rng(3)
    square = Polygon([(178, -9), (184, -9), (184, 9), (178, 9)])
    sets = {
        "one row": np.array([17]),
        "a tenth of the rows": np.sort(rng.choice(len(table), len(table) // 10, replace=False)),
        "nearly all rows": np.delete(np.arange(len(table)), [0, 5, 9]),
        "a block of rows": np.arange(50, 120),
        "all rows": np.arange(len(table)),
        "a box across the antimeridian": table.resolve(Filter(bbox=(178.0, -10.0, -177.0, 10.0)))[0],
        "a polygon across the antimeridian": table.resolve(Filter(within=square))[0],
        "a circle across the antimeridian": table.resolve(Filter(near=(179.5, 0.0, 400_000.0)))[0],
        "an attribute": table.resolve(Filter(where="elevation > 2000"))[0],
    }
    for name, allowed in sets.items():
        assert len(allowed), name
        rows, scores = index.search(queries, 10, allowed)
        _well_formed(rows, scores, len(queries), 10, what)
        strays = set(rows[rows >= 0].tolist()) - set(allowed.tolist())
        assert not strays, f"{what}{name}: the rows {sorted(strays)[:5]} were found though they were not allowed"
        _match(index, rows, scores, truth, allowed, recall, f"{what}{name}: ")
    shuffled = rng.permutation(np.concatenate([sets["a block of rows"]] * 2))
    again, ordered = index.search(queries, 10, shuffled), index.search(queries, 10, sets["a block of rows"])
    assert np.array_equal(again[0], ordered[0]), f"{what}the order of the allowed rows, or a repeated one, matters"
    rows, scores = index.search(queries, 4, np.empty(0, dtype=np.int64))
    assert (rows == -1).all(), f"{what}no row is allowed, and yet some were found"
    assert np.isnan(scores).all(), f"{what}no row is allowed, and yet there are scores"


def _pads(index: Index, table: EmbeddingTable, what: str) -> None:
    n = len(table)
    rows, scores = index.search(_queries(table), n + 7)
    _well_formed(rows, scores, len(rows), n + 7, what)
    assert (rows[:, n:] == -1).all(), f"{what}beyond the last row of the table comes -1"
    if index.exact:
        assert (np.sort(rows[:, :n], axis=1) == np.arange(n)).all(), f"{what}asked for all rows, it finds all"
    rows, scores = index.search(_queries(table)[:0], 3)
    assert rows.shape == scores.shape == (0, 3), f"{what}no query, no answers"


def _repeats_itself(index: Index, table: EmbeddingTable, what: str) -> None:
    queries = _queries(table)
    first, second = index.search(queries, 10), index.search(queries, 10)
    assert np.array_equal(first[0], second[0]), f"{what}two searches for the same find other rows"
    assert np.array_equal(first[1], second[1]), f"{what}two searches for the same give other scores"
    if not index.exact:
        return
    for at, query in enumerate(queries):
        rows, scores = index.search(query[None, :], 10)
        assert np.array_equal(rows[0], first[0][at]), f"{what}a query alone finds other rows than among others"
        assert np.array_equal(scores[0], first[1][at]), f"{what}a query alone has other scores than among others"


def _refuses(index: Index, table: EmbeddingTable) -> None:
    query = _queries(table)[:1]
    raises(SpaceMismatch, lambda: index.search(query[:, :-1], 3), "a query of another number of components")
    raises(UsageError, lambda: index.search(query, 0), "k = 0")
    raises(UsageError, lambda: index.search(query[0], 3), "a query without its first axis")
    raises(UsageError, lambda: index.search(query * np.float32("nan"), 3), "a query that is not finite")
    raises(UsageError, lambda: index.search(query, 3, np.array([len(table)])), "a row that does not exist")
    raises(UsageError, lambda: index.search(query, 3, np.array([-1])), "the row -1")
    if index.space.metric == "cosine":
        raises(UsageError, lambda: index.search(0 * query, 3), "a query without direction")


def _knows_its_table(index: Index, table: EmbeddingTable) -> None:
    index.check(table)
    index.check(EmbeddingTable(table.data, table.meta))
    changed = table.with_column("elevation", table.column("elevation") + 1.0)
    raises(StaleIndex, lambda: index.check(changed), "a table of other content (`check`)")
    shorter = table.take(np.arange(len(table) - 1))
    raises(StaleIndex, lambda: index.check(shorter), "a table that has lost a row (`check`)")
    foreign = EmbeddingTable(table.data, table.meta.replace(space=Space.mint(table.dims)))
    raises(SpaceMismatch, lambda: index.check(foreign), "a table of another Space (`check`)")


def _takes_an_empty_table(make_index: Callable[[EmbeddingTable], Index], empty: EmbeddingTable) -> None:
    index = make_index(empty)
    rows, scores = index.search(np.ones((2, empty.dims), dtype=np.float32), 3)
    assert (rows == -1).all(), "an empty table has no rows to be found"
    assert np.isnan(scores).all(), "an empty table gives no scores"


def _well_formed(rows: NDArray[Any], scores: NDArray[Any], q: int, k: int, what: str) -> None:
    assert rows.shape == scores.shape == (q, k), f"{what}answers of the shapes {rows.shape}, {scores.shape}, not {q, k}"
    assert rows.dtype == np.int64, f"{what}rows are int64, not {rows.dtype}"
    assert scores.dtype == np.float32, f"{what}scores are float32, not {scores.dtype}"
    none = rows == -1
    assert np.array_equal(none, np.isnan(scores)), f"{what}-1 and NaN stand in the same places"
    assert not (none[:, :-1] & ~none[:, 1:]).any(), f"{what}padding stands at the end"
    assert (rows >= -1).all(), f"{what}a row number below -1"
    for row, score in zip(rows, scores, strict=True):
        real = row[row >= 0]
        assert len(np.unique(real)) == len(real), f"{what}a row was found twice"
        assert (np.diff(score[: len(real)]) <= 0).all(), f"{what}scores do not fall"


def _match(
    index: Index,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    truth: NDArray[np.float64],
    allowed: NDArray[np.int64],
    recall: float,
    what: str,
) -> None:
    k = min(rows.shape[1], len(allowed))
    scale = max(1.0, float(np.abs(truth).max()))
    hit = 0
    for query in range(len(rows)):
        own = truth[query]
        best = np.sort(own[allowed])[::-1][:k]
        found = rows[query][rows[query] >= 0]
        if index.exact:
            assert len(found) == k, f"{what}{len(found)} rows were found, {k} could be"
            assert np.allclose(own[found], best, atol=_TOLERANCE * scale), (
                f"{what}query {query}: a better row was missed"
            )
            assert np.allclose(scores[query, :k], best, atol=_TOLERANCE * scale), f"{what}query {query}: a wrong score"
        assert len(found) <= k, f"{what}{len(found)} rows were found, only {k} could be"
        # A row as good as the last of the best is one of them.
        hit += int((own[found] >= best[-1] - _TOLERANCE * scale).sum())
    share = hit / (k * len(rows))
    assert share >= (1.0 if index.exact else recall), f"{what}recall {share:.3f}, {recall} is wanted"


def _ties_by_row(rows: NDArray[np.int64], table: EmbeddingTable, what: str) -> None:
    raw = np.ascontiguousarray(table.raw)
    for found in rows:
        seen: dict[bytes, int] = {}
        for row in found[found >= 0].tolist():
            content = raw[row].tobytes()
            assert seen.get(content, -1) < row, f"{what}row {row} stands after a later row with the same vector"
            seen[content] = row
