"""The likeness of every row of a region to examples: what a similarity map draws, and what coverage selects from.

Unlike a search it keeps all scores, not the k best: 12 bytes a row, whatever the table holds. Vectors stream past.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.area import StudyArea
from placevec.errors import UsageError
from placevec.geo.boxes import in_polygon
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.index.base import exact_scores
from placevec.provenance import Space
from placevec.results import Hits, Plan
from placevec.table import EmbeddingTable, Filter, Places, StoredTable, open_table
from placevec.tasks.coverage import Covered, best_share, row_areas
from placevec.tasks.search_examples import Example, at_point, by_id, given, mixed, rocchio
from placevec.tasks.search_queries import Asked, Pictures, Texts, Towers

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder
    from placevec.encoders.pair import PairModel

Table = EmbeddingTable | StoredTable
SCORED = {"cosine": "Cosine similarity", "dot": "Dot product", "l2": "Euclidean distance, negative"}
"""What a score is called, by the metric of the Space."""
_CHUNK = 16_384  # rows scored at a time: 16 MB in float64 at 128 components


@dataclass(frozen=True, eq=False)
class Similarity:
    """How like the examples each row of a region is.

    Attributes:
        table: the table that was scored.
        rows: (n,) int64, the rows of the region, ascending.
        scores: (n,) float32, larger is more like: what a search would give them.
        query: (d,) float32, what they were compared with.
        plan: how many rows took part, and what stands for the query.
        liked: the places of positive examples, those that have one.
        disliked: the places of negative ones.
    """

    table: Table
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    query: NDArray[np.float32]
    plan: Plan
    liked: LonLat
    disliked: LonLat

    def __len__(self) -> int:
        return len(self.rows)

    def covered(self, share: float) -> Covered:
        """The best-matching `share` of the region's area, see `tasks.coverage`."""
        return best_share(self.scores, *row_areas(self.table, self.rows), share)

    def places(self, columns: Sequence[str] | None = None) -> Places:
        """The rows of the region without vectors, with the attribute `score` added."""
        if isinstance(self.table, EmbeddingTable):
            part = self.table.places().take(self.rows)
            part = part if columns is None else Places(part.data.select(_wanted(part, columns)))
        else:
            part = self.table.places(columns, self.rows)
        return with_free_column(part, "score", self.scores)

    def hits(self, share: float) -> Hits:
        """The best-matching `share` of the region's area as hits, the best first."""
        part = self.covered(share)
        chosen = np.flatnonzero(part.inside)
        order = chosen[np.lexsort((chosen, -self.scores[chosen].astype(np.float64)))]
        rows = self.rows[order]
        places = (
            self.table.places(None, rows) if isinstance(self.table, StoredTable) else self.table.places().take(rows)
        )
        note = "; ".join([str(part), *([self.plan.note] if self.plan.note else [])])
        return Hits(rows, self.scores[order], places, replace(self.plan, name="coverage", note=note))


def similarity(
    table: str | Path | Table,
    *,
    text: Texts = None,
    image: Pictures = None,
    like: str | Sequence[str] | None = None,
    not_text: Texts = None,
    not_image: Pictures = None,
    unlike: str | Sequence[str] | None = None,
    at: tuple[float, float] | None = None,
    vector: NDArray[Any] | None = None,
    space: Space | None = None,
    encoder: Encoder | None = None,
    model: PairModel | str | Path | None = None,
    filter: Filter | None = None,
    area: str | Path | StudyArea | None = None,
) -> Similarity:
    """The score of every row of a region against examples; the query is made of them as `search` makes it.

    Args:
        table: a table, or the path of one; of a stored one vectors are read batch by batch.
        text: words to be like.
        image: images to be like.
        like: ids of positive examples; they need not lie in the region.
        not_text: words to be unlike.
        not_image: images to be unlike.
        unlike: ids of negative examples.
        at: (lon, lat) in degrees, a positive example: the row nearest to it, or the encoder's vector of it.
        vector: (d,) a positive example.
        space: the Space of `vector`, if it is not that of `encoder`.
        encoder: what made `vector`, or encodes `at`.
        model: the pair of towers that reads texts and images, by default that beside the table.
        filter: the region; the whole table by default. Rows without a geometry are left out by a geographic one.
        area: a study area, or its folder: rows of its part of the Earth; a cell counts if any of it does.

    Raises:
        UsageError: no positive example, an id that is absent, examples that cancel each other.
        SpaceMismatch: the vector or the encoder is of another Space than the table.
    """
    began = time.perf_counter()
    stored = open_table(table) if isinstance(table, str | Path) else table
    likes, unlikes = (_listed(ids) for ids in (like, unlike))
    positive, negative = by_id([stored], likes), by_id([stored], unlikes)
    notes: list[str] = []
    if encoder is not None:
        stored.space.require(encoder.space, "scoring with an encoder")
    if vector is not None:
        positive.append(Example(given(vector, space, stored.space), stored.meta.tower))
    if at is not None:
        example, _, note = at_point([stored], LonLat.of(*at), encoder)
        positive.append(example)
        notes.append(note)
    asked = Asked.of(text, image, not_text, not_image)
    if not (positive or asked.texts or asked.pictures):
        raise UsageError("nothing to be like: give ids (like), a point (at), a vector, words (text) or images")
    if asked:
        towers = Towers.open(asked, [stored], model)
        notes += towers.notes
        every = [*towers.positive, *positive], [*towers.negative, *negative]
        query = mixed(*every, stored.space, lambda: towers.reference(stored))
    else:
        query = rocchio([p.vector for p in positive], [n.vector for n in negative], stored.space)
    rows, unlocated = region_rows(stored, filter, area)
    scores = score_rows(stored, query, rows)
    whole = len(rows) == stored.num_rows
    plan = Plan(
        name="scan" if whole else "filter-then-exact",
        exact=True,
        candidates=len(rows),
        total=stored.num_rows,
        unlocated=unlocated,
        seconds=time.perf_counter() - began,
        note="; ".join(notes),
    )
    return Similarity(stored, rows, scores, query, plan, _where(positive), _where(negative))


def coverage(table: str | Path | Table, share: float, **words: Any) -> Hits:
    """The best-matching `share` (0 < share <= 1) of the area of a region, as hits; `words` are those of `similarity`.

    ``placevec search TABLE --coverage 0.1`` gives this. Examples are among the hits: the share is of all ground.
    """
    return similarity(table, **words).hits(share)


def score_rows(table: Table, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The scores (n,) of some rows (sorted) against one query (d,), those that a search gives, batch by batch."""
    out = np.empty(len(rows), dtype=np.float32)
    if isinstance(table, EmbeddingTable):
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            out[start : start + len(some)] = likeness(query, table.vectors(some), table.space)
        return out
    for first, piece in table.scan(["embedding"], rows, _CHUNK):
        low, high = np.searchsorted(rows, (first, first + piece.num_rows))
        vectors = EmbeddingTable(piece, table.meta).vectors()
        chosen = vectors if high - low == len(vectors) else vectors[rows[low:high] - first]
        out[low:high] = likeness(query, chosen, table.space)
    return out


def likeness(query: NDArray[np.float32], vectors: NDArray[np.float32], space: Space) -> NDArray[np.float32]:
    """The scores (n,) of vectors (n, d) against one query (d,): larger is more like, by the metric of the Space."""
    parts = [np.empty(0, dtype=np.float32)]
    for start in range(0, len(vectors), _CHUNK):
        some = vectors[start : start + _CHUNK]
        parts.append(exact_scores(np.broadcast_to(query, some.shape), some, space))
    return np.concatenate(parts)


def region_rows(
    table: Table, filter: Filter | None, area: str | Path | StudyArea | None = None
) -> tuple[NDArray[np.int64], int]:
    """The rows (sorted) of a region, and how many have no geometry and were left out for that.

    A row lies in a study area if its point does, or any part of its H3 cell: the area's own cells reach beyond it.
    """
    rows, unlocated = table.resolve(filter)
    if area is None:
        return rows, unlocated
    boundary = (area if isinstance(area, StudyArea) else StudyArea.open(area)).boundary
    has_h3 = table.has("h3")
    places = table.places(["h3"] if has_h3 else [], rows) if isinstance(table, StoredTable) else table.take(rows)
    located = places.located
    keep = np.zeros(len(rows), dtype=bool)
    keep[located] = in_polygon(places.lon[located], places.lat[located], boundary)
    if has_h3 and places.data["h3"].null_count == 0:
        rest = np.flatnonzero(located & ~keep)
        cells = places.column("h3")[rest].astype(np.uint64)
        levels = cells >> np.uint64(52) & np.uint64(0xF)
        shapely.prepare(boundary)
        for level in np.unique(levels):
            here = levels == level
            keep[rest[here]] = shapely.intersects(boundary, H3Cells(int(level)).polygons(cells[here]))
    # Of rows that a geographic filter has passed none lacks a place; what it left out is counted already.
    return rows[keep], unlocated or int((~located).sum())


def with_free_column(places: Places, name: str, values: NDArray[Any]) -> Places:
    """The places with a column added, called `name_` where the table has one of that name already."""
    free = name
    while places.has(free):
        free += "_"
    return places.with_column(free, values)


def _wanted(places: Places, columns: Sequence[str]) -> list[str]:
    return [name for name in places.data.schema.names if name in {*columns, "id", "geometry"}]


def _listed(ids: str | Sequence[str] | None) -> list[str]:
    return [] if ids is None else [ids] if isinstance(ids, str) else [str(one) for one in ids]


def _where(examples: Sequence[Example]) -> LonLat:
    points = [one.lonlat for one in examples if one.lonlat is not None]
    lon, lat = (np.array([getattr(point, axis)[0] for point in points], dtype=np.float64) for axis in ("lon", "lat"))
    return LonLat(lon, lat)
