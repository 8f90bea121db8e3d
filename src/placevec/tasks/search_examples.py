"""What a search is asked for: examples to be like or unlike, and the one query that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SpaceMismatch, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places, StoredTable

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder

Table: TypeAlias = EmbeddingTable | StoredTable
Vector: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """A vector to be like or unlike, and where it comes from.

    Attributes:
        vector: (d,).
        tower: which encoder of the Space made it.
        lonlat: the place that it stands for, a LonLat of length 1, if there is one.
    """

    vector: Vector
    tower: str = ""
    lonlat: LonLat | None = None


def rocchio(
    positive: Sequence[Vector], negative: Sequence[Vector], space: Space, spreads: Sequence[float] | None = None
) -> Vector:
    """The query (d,) of examples (d,): 2·mean(positive) − mean(negative), or mean(positive) without negative ones.

    Args:
        positive: examples to be like; in a Space compared by cosine each counts with length 1.
        negative: examples to be unlike.
        space: theirs.
        spreads: what each of the examples, positive ones first, is divided by; see `mixed`.

    Raises:
        UsageError: nothing is left of the examples though a direction is needed.
    """
    cosine = space.metric == "cosine"
    vectors = np.stack([_unit(v) if cosine else v.astype(np.float64) for v in (*positive, *negative)])
    if spreads is not None:
        vectors /= np.asarray(spreads, dtype=np.float64)[:, None]
    query = vectors[: len(positive)].mean(axis=0)
    if negative:
        query = 2.0 * query - vectors[len(positive) :].mean(axis=0)
    if cosine:
        if np.linalg.norm(query) < 1e-6:
            raise UsageError("the examples cancel each other, no direction is left to search in: give others")
        query = _unit(query)
    return np.asarray(query, dtype=np.float32)


def mixed(
    positive: Sequence[Example], negative: Sequence[Example], space: Space, reference: Callable[[], Vector]
) -> Vector:
    """The query (d,) of examples of any towers.

    Examples of one tower are mixed as `rocchio` does. Those of several are not comparable as they are: vectors of two
    towers lie in different cones (Liang et al. 2022, "Mind the gap"), so that over the items that are searched the
    cosines of one vary by far more than those of the other, and decide alone. So what is mixed are standard scores:
    an example p says (p·v − mean_p) / sd_p of an item v, mean and deviation taken over reference items. The means
    shift all items alike, and what remains is linear in v: the query is that of Rocchio with p / sd_p in place of p.
    Each example then counts with the same spread over the reference, and any index answers it.

    Args:
        positive: at least one.
        negative: any number.
        space: theirs; in one of metric l2, where scores are no products, nothing is divided.
        reference: gives (r, d) vectors like those that are searched.
    """
    every = [*positive, *negative]
    spreads: list[float] | None = None
    if len({example.tower for example in every}) > 1 and space.metric != "l2":
        spreads = _spreads([example.vector for example in every], reference(), space)
    return rocchio([p.vector for p in positive], [n.vector for n in negative], space, spreads)


def _spreads(vectors: Sequence[Vector], reference: Vector, space: Space) -> list[float] | None:
    """The deviation of each vector's scores over the reference (r, d); None where one of them has none."""
    cosine = space.metric == "cosine"
    items = np.stack([_unit(v) if cosine else v.astype(np.float64) for v in reference]) if len(reference) else None
    if items is None or len(items) < 2:
        return None
    asked = np.stack([_unit(v) if cosine else v.astype(np.float64) for v in vectors])
    found = (items @ asked.T).std(axis=0)
    return None if (found < 1e-6).any() else [float(one) for one in found]


def _unit(vector: NDArray[Any]) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = vector.astype(np.float64)
    length = float(np.linalg.norm(wide))
    return wide / length if length > 0 else wide


def by_id(tables: Sequence[Table], ids: Sequence[str]) -> list[Example]:
    """The vectors and points of rows by id, each from the first table that holds it; UsageError for one in none."""
    found: dict[str, Example] = {}
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


def _rows(table: Table, rows: NDArray[np.int64]) -> dict[str, Example]:
    part = table.take(rows, columns=["id", "geometry"]) if isinstance(table, StoredTable) else table.take(rows)
    vectors = part.vectors()
    points = [LonLat.of(part.lon[row], part.lat[row]) if part.located[row] else None for row in range(len(part))]
    return {str(name): Example(vectors[row], table.meta.tower, points[row]) for row, name in enumerate(part.ids)}


def given(vector: NDArray[Any], space: Space | None, home: Space) -> Vector:
    """A vector that a caller hands in; SpaceMismatch or UsageError unless it is one of the Space `home`."""
    if space is not None:
        home.require(space, "searching for a vector")
    array = np.asarray(vector)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise UsageError(f"the vector to search for is (d,) numbers, not {array.dtype} {array.shape}")
    if len(array) != home.dims:
        raise SpaceMismatch(f"a vector of {len(array)} components does not belong to the Space {home.label}")
    return array.astype(np.float32)


def at_point(tables: Sequence[Table], point: LonLat, encoder: Encoder | None) -> tuple[Example, str, str]:
    """The example that stands for a point of the map, the id of the row it is (if it is one), and a note."""
    lon, lat = float(point.lon[0]), float(point.lat[0])
    if encoder is not None and "lonlat" in encoder.inputs:
        (encoded,) = encoder.encode({"lonlat": np.array([[lon, lat]])})
        tower = str(getattr(encoder, "tower", ""))
        return Example(encoded, tower, point), "", f"the query is the encoder's vector of {lon:g},{lat:g}"
    best: tuple[float, Table, int] | None = None
    for table in tables:
        near = nearest(table, point)
        if near is not None and (best is None or near[1] < best[0]):
            best = (near[1], table, near[0])
    if best is None:
        raise UsageError(f"no row has a geometry, so none is nearest to {lon:g},{lat:g}: search by id (like)")
    metres, table, row = best
    ((name, example),) = _rows(table, np.array([row])).items()
    # What must keep away from the query keeps away from the point asked about.
    example = Example(example.vector, example.tower, point)
    return example, name, f"the query is the row nearest to {lon:g},{lat:g}: {name!r}, {_far(metres)} away"


def _far(metres: float) -> str:
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:.1f} km"


def nearest(table: Table, point: LonLat) -> tuple[int, float] | None:
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
