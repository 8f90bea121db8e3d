"""Tables of modalities on the same hexagons, read and laid side by side for a fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, SchemaError, UsageError
from placevec.geo.sphere import LonLat
from placevec.table import EmbeddingTable, Places, open_table
from placevec.tasks.inputs import cell_places

if TYPE_CHECKING:
    from placevec.geo.hex_levels import HexLevels
    from placevec.nn.hexunet.weights import Edges

Tables = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Modalities:
    """The tables of some modalities on the union of their cells.

    Attributes:
        tables: by name, in the order given.
        cells: (n,) H3 cells of one resolution that at least one table holds, in the order of `places`.
        places: the rows of what is fused.
        rows: for each table the row (n,) of each cell, -1 where it has none.
    """

    tables: Mapping[str, EmbeddingTable]
    cells: NDArray[np.uint64]
    places: Places
    rows: Mapping[str, NDArray[np.int64]]

    @property
    def resolution(self) -> int:
        """Of the cells."""
        return int(self.cells[0] >> np.uint64(52)) & 15

    @property
    def lonlat(self) -> LonLat:
        """The centres (n,) of the cells."""
        return self.places.lonlat()

    def values(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vectors (n, d) of a modality, 0 where there are none, and where there are any (n,)."""
        table, rows = self.tables[name], self.rows[name]
        here = rows >= 0
        out = np.zeros((len(rows), table.dims), dtype=np.float32)
        out[here] = table.vectors(rows[here])
        return out, here

    def absent(self) -> dict[str, int]:
        """How many of the cells each modality does not know, for those that lack any."""
        counts = {name: int((rows < 0).sum()) for name, rows in self.rows.items()}
        return {name: count for name, count in counts.items() if count}


def read_modalities(tables: Tables) -> Modalities:
    """Read tables of the same hexagons.

    Args:
        tables: paths or tables by the names of the modalities.

    Raises:
        UsageError: there is none.
        SchemaError: a table without the column h3, with a cell twice, or of another resolution than the first.
        DataError: two tables have no cell in common.
    """
    if not tables:
        raise UsageError("nothing to fuse: give --modality NAME=TABLE, several times")
    read = {name: _read(table) for name, table in tables.items()}
    cells: dict[str, NDArray[np.uint64]] = {}
    resolution = -1
    for name, table in read.items():
        if not table.has("h3"):
            raise SchemaError(
                f"the table of {name} has no column h3: make it with `placevec area features`, or bring vectors of "
                "points to cells with `placevec area features table`"
            )
        own = table.column("h3").astype(np.uint64)
        if len(own) == 0:
            raise DataError(f"the table of {name} has no row")
        if len(np.unique(own)) < len(own):
            raise SchemaError(f"the table of {name} holds a cell twice: bring it to cells with `area features table`")
        levels = np.unique(own >> np.uint64(52) & np.uint64(15))
        resolution = int(levels[0]) if resolution < 0 else resolution
        if len(levels) > 1 or int(levels[0]) != resolution:
            odd = int(levels[-1] if int(levels[0]) == resolution else levels[0])
            raise SchemaError(
                f"the table of {name} has cells of resolution {odd}, the first table {resolution}: make all of one "
                "resolution (`area features table` brings cells up or down)"
            )
        cells[name] = own
    union = np.unique(np.concatenate(list(cells.values())))
    names = list(cells)
    for name in names[1:]:
        if not np.isin(cells[name], cells[names[0]]).any():
            raise DataError(f"the tables of {names[0]} and {name} have no cell in common: are they of one area?")
    places = cell_places(union, resolution)
    ordered = places.column("h3").astype(np.uint64)
    return Modalities(read, ordered, places, {name: _rows(own, ordered) for name, own in cells.items()})


def parse_levels(text: str | Sequence[int] | None, resolution: int) -> tuple[int, ...]:
    """The resolutions of a fusion, such as "9,8,7"; by default the cells' own and the two above.

    Raises:
        UsageError: no numbers, or the finest is not that of the cells.
    """
    if text is None:
        return tuple(range(resolution, max(resolution - 3, -1), -1))
    try:
        found = [int(one) for one in text.split(",")] if isinstance(text, str) else [int(one) for one in text]
    except ValueError:
        raise UsageError(f"levels {text!r}: write H3 resolutions, such as 9,8,7") from None
    if not found or max(found) != resolution:
        raise UsageError(f"levels {text}: the finest is that of the tables' cells, {resolution}")
    return tuple(sorted(found, reverse=True))


def edges_of(graphs: Sequence[str | Path], levels: HexLevels) -> dict[int, Edges]:
    """The accessibility graphs of some files, for the rows of `levels`, by their resolutions.

    Raises:
        UsageError: two files are of one resolution.
        DataError: a file is of a resolution that is none of the levels'.
    """
    from placevec.features.graphs import load_graph

    found: dict[int, Edges] = {}
    for path in graphs:
        resolution = load_graph(path).resolution
        if resolution not in levels.resolutions:
            shown = ", ".join(map(str, levels.resolutions))
            raise DataError(f"{path} is of resolution {resolution}, the levels are {shown}: make it for one of these")
        if resolution in found:
            raise UsageError(f"two graphs are of resolution {resolution}: give one for each level")
        found[resolution] = load_graph(path, levels.cells[levels.resolutions.index(resolution)])
    return found


def _read(table: Any) -> EmbeddingTable:
    return table if isinstance(table, EmbeddingTable) else open_table(table).read()


def _rows(cells: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    order = np.argsort(cells)
    at = np.minimum(np.searchsorted(cells[order], wanted), len(cells) - 1)
    return np.where(cells[order][at] == wanted, order[at], -1).astype(np.int64)
