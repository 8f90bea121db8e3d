"""Several embedding tables as one set of places, joined on their ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.geo.sphere import LonLat, distance_m
from placevec.table import EmbeddingTable
from placevec.train.contrastive.tables import ImageTable

SAME_M = 1.0  # rows of one id within so many metres of each other are one place


@dataclass(frozen=True, eq=False)
class Joined:
    """The places of all tables, each once.

    Attributes:
        lonlat: n places.
        keys: (n,) groups that a split must not part: several rows of one place.
        tables: the vectors of each table and the places that they belong to.
        captions: (n,) a text or None; None where no column of captions was asked for.
    """

    lonlat: LonLat
    keys: NDArray[np.object_]
    tables: tuple[ImageTable, ...]
    captions: tuple[str | None, ...] | None

    def take(self, rows: NDArray[np.int64]) -> Joined:
        """Some of the places, and the vectors of those."""
        where = np.full(len(self.lonlat), -1, dtype=np.int64)
        where[rows] = np.arange(len(rows))
        tables = []
        for table in self.tables:
            own = where[np.arange(len(self.lonlat)) if table.rows is None else table.rows]
            kept = own >= 0
            tables.append(ImageTable(table.name, table.vectors[kept], own[kept], table.space))
        texts = None if self.captions is None else tuple(self.captions[row] for row in rows)
        return Joined(self.lonlat[rows], self.keys[rows], tuple(tables), texts)


def join_tables(tables: Mapping[str, EmbeddingTable], captions: str = "") -> Joined:
    """The located rows of tables as places; rows of one id at one place (within a metre) are the same.

    Tables whose ids are not names of places but mere numbers may use one id for different places: those stay apart.
    As the loss of a table compares its own rows only, nothing is lost but a common row in the batch.

    Args:
        tables: by name.
        captions: the column of captions, in one table at least; of several texts of a place the first is taken.

    Raises:
        SchemaError: no row with a geometry, no such column, or one that does not hold text.
    """
    known: dict[str, int] = {}
    lon: list[float] = []
    lat: list[float] = []
    keys: list[str] = []
    texts: dict[int, str] = {}
    found = []
    for name, table in tables.items():
        rows = np.flatnonzero(table.located)
        ids, groups, own = table.ids[rows], table.keys[rows], table.lonlat(rows)
        place = np.array([known.get(name, -1) for name in ids], dtype=np.int64)
        again = place >= 0
        if again.any():
            there = LonLat(np.array(lon)[place[again]], np.array(lat)[place[again]])
            apart = distance_m(own[again], there) > SAME_M
            place[np.flatnonzero(again)[apart]] = -1
        for row in np.flatnonzero(place < 0):
            place[row] = len(lon)
            # An id that has another place in an earlier table says nothing about which rows belong together.
            keys.append(f"{name}:{groups[row]}" if ids[row] in known else str(groups[row]))
            known.setdefault(ids[row], len(lon))
            lon.append(own.lon[row])
            lat.append(own.lat[row])
        if captions and table.has(captions):
            for at, text in zip(place, _texts(table, captions)[rows], strict=True):
                if text is not None and text.strip():
                    texts.setdefault(int(at), text)
        found.append(ImageTable(name, table.vectors(rows), place, table.space))
    if not lon:
        raise SchemaError("none of the rows has a geometry: a location encoder needs coordinates")
    if captions and not any(table.has(captions) for table in tables.values()):
        columns = sorted({column for table in tables.values() for column in table.attributes})
        raise SchemaError(f"captions = {captions!r} is no column; there are: {', '.join(columns) or 'none'}")
    said = tuple(texts.get(row) for row in range(len(lon))) if captions else None
    return Joined(LonLat(np.array(lon), np.array(lat)), np.array(keys, dtype=object), tuple(found), said)


def _texts(table: EmbeddingTable, column: str) -> NDArray[np.object_]:
    values = table.column(column)
    for value in values:
        if value is not None and not isinstance(value, str):
            raise SchemaError(f"the column {column!r} of captions holds {value!r}, not text: name another column")
    return np.asarray(values, dtype=object)
