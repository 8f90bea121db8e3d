"""`search`: the places most like given ones, like a point of the map, or like a vector."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import SpaceMismatch, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.index.base import Index, check_k
from placevec.index.planner import Around, Planner
from placevec.provenance import Space
from placevec.results import Hits, Plan
from placevec.table import EmbeddingTable, Filter, Places, StoredTable, open_table

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder

Searchable: TypeAlias = str | Path | EmbeddingTable | StoredTable

# Cormack, Clarke, Büttcher, "Reciprocal rank fusion outperforms Condorcet", SIGIR 2009: score = sum of 1 / (60 + rank).
RRF_OFFSET = 60


@dataclass(frozen=True)
class _Example:
    """A vector to be like or unlike, and the place that it stands for, if there is one."""

    vector: NDArray[np.float32]
    lonlat: LonLat | None = None


def search(
    table: Searchable | Sequence[Searchable],
    *,
    like: str | Sequence[str] | None = None,
    unlike: str | Sequence[str] | None = None,
    at: tuple[float, float] | None = None,
    vector: NDArray[Any] | None = None,
    space: Space | None = None,
    encoder: Encoder | None = None,
    k: int = 10,
    filter: Filter | None = None,
    exclude_self: bool = True,
    min_distance_m: float | None = None,
    index: Index | None = None,
) -> Hits:
    """The k places most like the examples given.

    The query is 2·mean(pos) − mean(neg), or mean(pos) without negative examples (Rocchio, 1971, with weights 2 and
    1); in a Space compared by cosine each example counts with length 1, and so does the query.

    Several tables of one Space are searched as one. If the same tower made them, their scores compare and the hits
    are merged by score; if not, by reciprocal rank fusion, because scores of different towers do not compare. An
    id that several tables hold is one hit then.

    Args:
        table: a table, or the path of one; or several of one Space.
        like: ids of positive examples; of an id in several tables the first counts.
        unlike: ids of negative examples.
        at: (lon, lat) in degrees: the row nearest to that point is a positive example; with an `encoder` that takes
            "lonlat", its vector is. The plan's note says which.
        vector: (d,) a positive example.
        space: the Space of `vector`, if it is not that of `encoder`.
        encoder: what made `vector`, or encodes `at`.
        k: hits wanted.
        filter: which rows may be found.
        exclude_self: whether the examples themselves are kept out of the hits.
        min_distance_m: hits lie at least this far, in metres, from every positive example. Rows without a geometry
            are left out then, and counted.
        index: an index of the table; exact search without one.

    Raises:
        UsageError: no positive example, an id that is absent, k < 1, examples that cancel each other.
        SpaceMismatch: the tables, the vector or the encoder are not all of one Space.
    """
    began = time.perf_counter()
    tables = _open(table)
    home = tables[0].space
    for other in tables[1:]:
        home.require(other.space, "searching several tables")
    if encoder is not None:
        home.require(encoder.space, "searching with an encoder")
    if index is not None and len(tables) > 1:
        raise UsageError("an index belongs to one table; search several without it")
    if min_distance_m is not None and not (np.isfinite(min_distance_m) and min_distance_m >= 0):
        raise UsageError(f"the least distance is {min_distance_m} m; give a finite number >= 0")
    planners = [Planner(one, index) for one in tables]
    likes, unlikes = _names(like), _names(unlike)
    positive, negative = _examples(tables, likes), _examples(tables, unlikes)
    notes: list[str] = []
    if vector is not None:
        positive.append(_Example(_given(vector, space, home)))
    itself = {*likes, *unlikes}
    if at is not None:
        example, name, note = _at(tables, LonLat.of(*at), encoder)
        positive.append(example)
        itself |= {name} if name else set()
        notes.append(note)
    if not positive:
        raise UsageError("nothing to be like: give ids (like), a point (at) or a vector")
    query = rocchio([p.vector for p in positive], [n.vector for n in negative], home)
    around = _around(positive, likes, min_distance_m)
    k = check_k(k)
    same = len({one.meta.tower for one in tables}) == 1
    # So deep that no place below it in every ranking could be among the k best of their fusion.
    depth = k if same else len(tables) * (RRF_OFFSET + k)
    answers = []
    for planner in planners:
        rows = planner.table.rows_of(sorted(itself)) if exclude_self and itself else np.empty(0, dtype=np.int64)
        answers.append(planner.search(query, depth, filter=filter, exclude=rows[rows >= 0], around=around))
    hits = answers[0] if len(answers) == 1 else _merge(answers, tables, k, by_score=same)
    note = "; ".join([*notes, *([hits.plan.note] if hits.plan.note else [])])
    return replace(hits, plan=replace(hits.plan, note=note, seconds=time.perf_counter() - began))


def rocchio(
    positive: Sequence[NDArray[np.float32]], negative: Sequence[NDArray[np.float32]], space: Space
) -> NDArray[np.float32]:
    """The query (d,) of examples (d,): 2·mean(positive) − mean(negative), or mean(positive) without negative ones.

    Raises UsageError if nothing is left of it though a direction is needed.
    """
    cosine = space.metric == "cosine"
    pos = np.stack([_unit(v) if cosine else v.astype(np.float64) for v in positive]).mean(axis=0)
    query = pos
    if negative:
        query = 2.0 * pos - np.stack([_unit(v) if cosine else v.astype(np.float64) for v in negative]).mean(axis=0)
    if cosine:
        if np.linalg.norm(query) < 1e-6:
            raise UsageError("the examples cancel each other, no direction is left to search in: give others")
        query = _unit(query)
    return np.asarray(query, dtype=np.float32)


def _unit(vector: NDArray[Any]) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = vector.astype(np.float64)
    length = float(np.linalg.norm(wide))
    return wide / length if length > 0 else wide


def _open(table: Searchable | Sequence[Searchable]) -> list[EmbeddingTable | StoredTable]:
    several = [table] if isinstance(table, str | Path | EmbeddingTable | StoredTable) else list(table)
    if not several:
        raise UsageError("no table was given to be searched")
    return [open_table(one) if isinstance(one, str | Path) else one for one in several]


def _names(ids: str | Sequence[str] | None) -> list[str]:
    if ids is None:
        return []
    return [ids] if isinstance(ids, str) else [str(one) for one in ids]


def _examples(tables: Sequence[EmbeddingTable | StoredTable], ids: Sequence[str]) -> list[_Example]:
    """The vectors and points of rows by id, each from the first table that holds it."""
    found: dict[str, _Example] = {}
    for table in tables:
        missing = [name for name in dict.fromkeys(ids) if name not in found]
        if not missing:
            break
        at = table.rows_of(missing)
        rows = at[at >= 0]
        if len(rows):
            found.update(_rows(table, rows))
    absent = [name for name in ids if name not in found]
    if absent:
        where = "the table" if len(tables) == 1 else f"any of the {len(tables)} tables"
        raise UsageError(f"the id {absent[0]!r} is not in {where}: `placevec info` shows some that are")
    return [found[name] for name in ids]


def _rows(table: EmbeddingTable | StoredTable, rows: NDArray[np.int64]) -> dict[str, _Example]:
    part = table.take(rows, columns=["id", "geometry"]) if isinstance(table, StoredTable) else table.take(rows)
    vectors = part.vectors()
    return {
        str(name): _Example(vectors[row], LonLat.of(part.lon[row], part.lat[row]) if part.located[row] else None)
        for row, name in enumerate(part.ids)
    }


def _given(vector: NDArray[Any], space: Space | None, home: Space) -> NDArray[np.float32]:
    if space is not None:
        home.require(space, "searching for a vector")
    given = np.asarray(vector)
    if given.ndim != 1 or given.dtype.kind not in "fiu":
        raise UsageError(f"the vector to search for is (d,) numbers, not {given.dtype} {given.shape}")
    if len(given) != home.dims:
        raise SpaceMismatch(f"a vector of {len(given)} components does not belong to the Space {home.label}")
    return given.astype(np.float32)


def _at(
    tables: Sequence[EmbeddingTable | StoredTable], point: LonLat, encoder: Encoder | None
) -> tuple[_Example, str, str]:
    """The example that stands for a point of the map, the id of the row it is (if it is one), and a note."""
    lon, lat = float(point.lon[0]), float(point.lat[0])
    if encoder is not None and "lonlat" in encoder.inputs:
        (encoded,) = encoder.encode({"lonlat": np.array([[lon, lat]])})
        return _Example(encoded, point), "", f"the query is the encoder's vector of {lon:g},{lat:g}"
    best: tuple[float, EmbeddingTable | StoredTable, int] | None = None
    for table in tables:
        near = nearest(table, point)
        if near is not None and (best is None or near[1] < best[0]):
            best = (near[1], table, near[0])
    if best is None:
        raise UsageError(f"no row has a geometry, so none is nearest to {lon:g},{lat:g}: search by id (like)")
    metres, table, row = best
    ((name, example),) = _rows(table, np.array([row])).items()
    # What must keep away from the query keeps away from the point asked about.
    example = replace(example, lonlat=point)
    return example, name, f"the query is the row nearest to {lon:g},{lat:g}: {name!r}, {_far(metres)} away"


def _far(metres: float) -> str:
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:.1f} km"


def nearest(table: EmbeddingTable | StoredTable, point: LonLat) -> tuple[int, float] | None:
    """The row nearest to a point (length 1) and its distance in metres; None if no row has a geometry."""
    if isinstance(table, EmbeddingTable):
        return _nearest(table, point)
    best: tuple[int, float] | None = None
    for first, piece in table.scan(["geometry"], batch_rows=131_072):
        found = _nearest(Places(piece), point)
        if found is not None and (best is None or found[1] < best[1]):
            best = (first + found[0], found[1])
    return best


def _nearest(places: Places, point: LonLat) -> tuple[int, float] | None:
    rows = np.flatnonzero(places.located)
    if not len(rows):
        return None
    metres = distance_m(places.lonlat(rows), point)
    return int(rows[np.argmin(metres)]), float(metres.min())


def _around(positive: Sequence[_Example], likes: Sequence[str], metres: float | None) -> Around | None:
    if metres is None:
        return None
    for name, example in zip(likes, positive, strict=False):
        if example.lonlat is None:
            raise UsageError(f"{name!r} has no geometry, so no least distance from it can be kept: leave it out")
    points = [example.lonlat for example in positive if example.lonlat is not None]
    if not points:
        raise UsageError("a vector alone has no place from which hits could keep a distance: give ids or a point")
    return Around(LonLat(np.concatenate([p.lon for p in points]), np.concatenate([p.lat for p in points])), metres)


def _merge(answers: Sequence[Hits], tables: Sequence[EmbeddingTable | StoredTable], k: int, *, by_score: bool) -> Hits:
    names = _labels(tables)
    towers = sorted({repr(table.meta.tower) for table in tables})
    # id -> [score, table, place in that table's answer]; the table where the hit ranks first shows it.
    ranked: dict[str, tuple[float, int, int]] = {}
    for which, hits in enumerate(answers):
        for rank, name in enumerate(hits.ids):
            old = ranked.get(name)
            if by_score:
                score = float(hits.scores[rank])
                if old is None or score > old[0]:
                    ranked[name] = (score, which, rank)
            else:
                score = 1.0 / (RRF_OFFSET + rank + 1)
                shown = (which, rank) if old is None or rank < old[2] else old[1:]
                ranked[name] = (score + (old[0] if old else 0.0), *shown)
    best = sorted(ranked.values(), key=lambda entry: (-entry[0], entry[2], entry[1]))[:k]
    parts = [answers[which].places.take([rank]).data for _, which, rank in best]
    empty = answers[0].places.data.slice(0, 0)
    data = pa.concat_tables([*parts] or [empty], promote_options="permissive").combine_chunks()
    plans = [hits.plan for hits in answers]
    how = (
        "merged by score (one tower)"
        if by_score
        else f"merged by reciprocal rank: scores of the towers {', '.join(towers)} do not compare"
    )
    candidates = sum(plan.candidates for plan in plans)
    short = f"{k} hits were asked for, {len(best)} places were found" if len(best) < k else ""
    plan = Plan(
        name="score-fusion" if by_score else "rank-fusion",
        exact=all(plan.exact for plan in plans),
        candidates=candidates,
        total=sum(plan.total for plan in plans),
        unlocated=sum(plan.unlocated for plan in plans),
        note="; ".join([f"{len(tables)} tables, {how}", *([short] if short else [])]),
    )
    return Hits(
        np.array([answers[which].rows[rank] for _, which, rank in best], dtype=np.int64),
        np.array([score for score, _, _ in best], dtype=np.float32),
        Places(data),
        plan,
        tuple(names[which] for _, which, _ in best),
    )


def _labels(tables: Sequence[EmbeddingTable | StoredTable]) -> list[str]:
    """A name for each table: its tower, else its file, numbered where two would be the same."""
    names = [
        table.meta.tower or (Path(str(table.path)).stem if isinstance(table, StoredTable) else "table")
        for table in tables
    ]
    return [name if names.count(name) == 1 else f"{name}-{at + 1}" for at, name in enumerate(names)]
