"""`change`: what differs between two dates of the same kind of data, place by place, in one Space.

The result is an EmbeddingTable: its vector is the difference of the two (after − before), its attributes say how much
that is. So every verb reads it: `map --by change` draws it, `cluster` finds the kinds of change, `search --like`
finds places that changed in the same way, `export` hands it on. Differences do not compare with what they are made
of, so that they have a Space of their own, derived from the one of the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.provenance import Space, TableMeta, inherit_saw
from placevec.table import EmbeddingTable, Filter, Places, Skipped, StoredTable, open_table, write_skipped
from placevec.table.parquet import ParquetSink
from placevec.tasks.change_join import Joined, joined_attributes, match
from placevec.tasks.coverage import row_areas

Table = EmbeddingTable | StoredTable
Key = Literal["auto", "place", "h3", "id"]
Progress = Callable[[int, int, Mapping[str, Any]], None]

ROWS = 65_536  # joined rows read at a time
_MAD = 1.4826  # a normal distribution's deviation in units of the median absolute one
_DEVIATIONS = 3.0
_STABLE_QUANTILE = 0.99
_ROUNDING = 1e-6  # a distance below this is that of float32 and no change


@dataclass(frozen=True)
class Floor:
    """How much an unchanged place seems to change.

    Attributes:
        value: above it a place counts as changed.
        how: how it was found, for people.
    """

    value: float
    how: str


@dataclass(frozen=True)
class ChangeSummary:
    """What `change` did.

    Attributes:
        path: of the table written.
        rows: places of both tables.
        only_before: places of the first table alone; they are in ``NAME.skipped.parquet``.
        only_after: places of the second table alone; likewise.
        by: what they were joined by.
        measure: what `change` is: "1 - cosine" or "euclidean distance".
        floor: the noise floor.
        floor_by: how it was found.
        changed: places above it.
        changed_km2: their area; None where places have none.
        total_km2: the area of all places of both tables.
        median: of the change.
        p99: its 99th percentile.
        fingerprint: of the table.
    """

    path: str
    rows: int
    only_before: int
    only_after: int
    by: str
    measure: str
    floor: float
    floor_by: str
    changed: int
    changed_km2: float | None
    total_km2: float | None
    median: float
    p99: float
    fingerprint: str

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def change(
    before: str | Path | Table,
    after: str | Path | Table,
    out: str | Path,
    *,
    by: Key = "auto",
    measure: Literal["auto", "cosine", "l2"] = "auto",
    floor: float | None = None,
    stable: Filter | None = None,
    progress: Progress | None = None,
) -> ChangeSummary:
    """Join two tables of one Space by place and write how far each place moved, and in which direction.

    The table written has the places and attributes of `after`, and:

    - `change`: 1 − cosine, or the Euclidean distance; 0 for the same vector.
    - `changed`: whether that is above the noise floor.
    - ``NAME_before``: an attribute of `before` that differs in some place, or that `after` lacks.
    - the vector: after − before, of unit vectors where `measure` is the cosine (its squared length is then twice
      `change`).

    The floor: two dates never give quite the same vector, because of light, season and noise. Without more knowledge
    most places are taken for unchanged and the floor is median + 3 deviations of the distance (of unit vectors, where
    `measure` is the cosine), the deviation being 1.4826 times the median absolute one (Rousseeuw & Croux, 1993).
    `stable` names places known not to have changed: then it is the 99th percentile of theirs.

    Args:
        before: the earlier date, a table or its path.
        after: the later date, of the same Space and tower.
        out: the table to write, ending in .parquet.
        by: "place", "h3" or "id"; "auto" takes the first that both have.
        measure: "cosine" or "l2"; "auto" is the metric of the Space (l2 for "dot").
        floor: a quantile of the change in (0, 1), such as 0.95, that is the floor instead.
        stable: rows of `after` that have not changed.
        progress: called with the rows done and all rows.

    Raises:
        SpaceMismatch: the tables are of two Spaces, so that their vectors do not compare.
        UsageError: no place is in both; or both `floor` and `stable`; or `stable` holds no place of both.
        SchemaError: a key stands twice in one table, or `change` is an attribute already.
    """
    if floor is not None and stable is not None:
        raise UsageError("the noise floor is a quantile (floor) or that of unchanged places (stable): give one of them")
    if floor is not None and not 0 < floor < 1:
        raise UsageError(f"the noise floor is a quantile of the change between 0 and 1, such as 0.95, not {floor}")
    if Path(out).suffix not in (".parquet", ".geoparquet", ".gpq"):
        raise UsageError(f"{out}: the table of changes ends in .parquet; other forms are written by `export`")
    first, second = (open_table(one) if isinstance(one, str | Path) else one for one in (before, after))
    _check(first, second, out)
    joined = match(first, second, by)
    metric = _metric(measure, first.space)
    pairs = _Pairs(first, second, joined, metric, progress)
    scores = np.concatenate([np.empty(0, np.float32), *(pairs.score(a, b) for _, a, b in pairs.read(0))])
    found = _floor(scores, floor, None if stable is None else np.isin(joined.after, second.resolve(stable)[0]), metric)
    changed = scores > np.float32(found.value)
    attributes = joined_attributes(first, second, joined)
    meta = _meta(first, second, joined, metric, found)
    with ParquetSink(out, meta) as sink:
        for start, a, b in pairs.read(1):
            stop = start + len(a)
            some = EmbeddingTable.of(
                attributes.take(np.arange(start, stop))
                .with_column("change", scores[start:stop])
                .with_column("changed", changed[start:stop]),
                pairs.difference(a, b),
                meta.space,
                normalized=False,
            )
            sink.write(some.data)
        # Counted before the file is closed: what was read is what is written.
        fingerprint = str(sink.fingerprint)
    write_skipped(out, _unmatched(first, second, joined))
    areas, weighted = row_areas(second, joined.after)
    return ChangeSummary(
        path=str(out),
        rows=len(scores),
        only_before=len(joined.only_before),
        only_after=len(joined.only_after),
        by=joined.by,
        measure="1 - cosine" if metric == "cosine" else "euclidean distance",
        floor=found.value,
        floor_by=found.how,
        changed=int(changed.sum()),
        changed_km2=float(areas[changed].sum()) / 1e6 if weighted else None,
        total_km2=float(areas.sum()) / 1e6 if weighted else None,
        median=float(np.median(scores)),
        p99=float(np.quantile(scores, 0.99)),
        fingerprint=fingerprint,
    )


@dataclass(frozen=True)
class _Pairs:
    """The two vectors of each place, read side by side twice: to find the floor, and to write."""

    first: Table
    second: Table
    joined: Joined
    metric: str
    progress: Progress | None

    def read(self, turn: int) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
        """Number of the first place, and vectors (n, d) of both dates; turn 0 or 1."""
        total = len(self.joined.after)
        for start in range(0, total, ROWS):
            some = slice(start, start + ROWS)
            yield start, _vectors(self.first, self.joined.before[some]), _vectors(self.second, self.joined.after[some])
            if self.progress is not None:
                self.progress(turn * total + min(start + ROWS, total), 2 * total, {})

    def score(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far apart (n,) the vectors are, 0 or more."""
        between = self.difference(a.astype(np.float64), b.astype(np.float64))
        # The cosine by the chord: 1 - cos of two vectors that are nearly one would be all rounding.
        squared = np.einsum("ij,ij->i", between, between)
        return np.asarray(squared / 2.0 if self.metric == "cosine" else np.sqrt(squared), dtype=np.float32)

    def difference(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        """After − before (n, d)."""
        made: NDArray[Any] = _unit(b) - _unit(a) if self.metric == "cosine" else b - a
        return made


def _vectors(table: Table, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return table.vectors(rows) if isinstance(table, EmbeddingTable) else table.take(rows, columns=["id"]).vectors()


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    unit: NDArray[Any] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def _check(first: Table, second: Table, out: str | Path) -> None:
    first.space.require(second.space, "change between two dates")
    if first.meta.tower != second.meta.tower:
        raise UsageError(
            f"the tables are of two towers, {first.meta.tower!r} and {second.meta.tower!r}: what differs is the "
            "encoder and not the date; embed both dates with one"
        )
    for table in (first, second):
        if isinstance(table, StoredTable) and Path(str(table.path)).resolve() == Path(out).resolve():
            raise UsageError(f"{out} is one of the two tables: write the change to another name")
    for name in ("change", "changed"):
        if second.has(name):
            raise SchemaError(f"the later table has an attribute {name!r} already: drop or rename it first")


def _metric(measure: str, space: Space) -> str:
    if measure == "auto":
        return "cosine" if space.metric == "cosine" else "l2"
    if measure not in ("cosine", "l2"):
        raise UsageError(f"there is no measure {measure!r} of change: choose cosine or l2")
    return measure


def _floor(scores: NDArray[np.float32], quantile: float | None, stable: NDArray[np.bool_] | None, metric: str) -> Floor:
    # 1 - cosine is half a squared distance: of squares the tail is long, and a bound of theirs would let noise pass.
    wide = scores.astype(np.float64)
    distance = np.sqrt(2.0 * wide) if metric == "cosine" else wide
    if stable is not None:
        if not stable.any():
            raise UsageError("none of the places said to be unchanged is in both tables: name others")
        bound = float(np.quantile(distance[stable], _STABLE_QUANTILE))
        how = f"99th percentile of {int(stable.sum()):,} places known to be unchanged"
    elif quantile is not None:
        bound, how = float(np.quantile(distance, quantile)), f"quantile {quantile:g} of all places"
    else:
        middle = float(np.median(distance))
        bound = middle + _DEVIATIONS * _MAD * float(np.median(np.abs(distance - middle)))
        how = "median + 3 robust deviations of all places"
    bound = max(bound, _ROUNDING)
    return Floor(bound**2 / 2.0 if metric == "cosine" else bound, how)


def _meta(first: Table, second: Table, joined: Joined, metric: str, found: Floor) -> TableMeta:
    dims = second.space.dims
    space = Space.derived([second.space], f"difference:{metric}", dims, metric="l2", note="after - before")
    return TableMeta(
        space=space,
        tower=second.meta.tower,
        dims=second.meta.dims,
        kind=second.meta.kind,
        chip_layout=second.meta.chip_layout,
        encoder=f"difference of {second.meta.encoder}" if second.meta.encoder else "difference",
        weights_sha256=second.meta.weights_sha256,
        recipe={"verb": "change", "by": joined.by, "measure": metric, "floor": found.value, "floor_by": found.how},
        sources=tuple(dict.fromkeys((*first.meta.sources, *second.meta.sources))),
        parents=(first.fingerprint(), second.fingerprint()),
        saw=inherit_saw(first.meta.saw, second.meta.saw),
    )


def _unmatched(first: Table, second: Table, joined: Joined) -> Iterator[Skipped]:
    for table, rows, which in ((first, joined.only_before, "before"), (second, joined.only_after, "after")):
        if not len(rows):
            continue
        places = table.places([], rows) if isinstance(table, StoredTable) else Places(table.data).take(rows)
        geometries = places.data["geometry"].cast(pa.binary()).to_pylist()
        for name, geometry in zip(places.ids, geometries, strict=True):
            # An id may stand alone on both sides, under two keys: the reason says which is meant.
            yield Skipped(str(name), "join", f"only in the table of {which}", geometry)
