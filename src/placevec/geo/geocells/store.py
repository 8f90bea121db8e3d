"""Geocells as bytes: an Arrow file with a row for each cell, and the regions in its footer. No pickle."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely

from placevec.errors import DataError, FormatError
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat

if TYPE_CHECKING:
    from placevec.geo.geocells.cells import GeoCells

FORMAT = "placevec.geocells"
VERSION = 1

_KEY = b"placevec.geocells"
_COLUMNS = {
    "lon": pa.float64(),
    "lat": pa.float64(),
    "region": pa.int64(),
    "radius_m": pa.float64(),
    "limit_m": pa.float64(),
    "count": pa.int64(),
}


def to_bytes(cells: GeoCells) -> bytes:
    """The cells as an Arrow IPC file: equal cells give equal bytes."""
    columns: dict[str, Any] = {
        "lon": cells.centres.lon,
        "lat": cells.centres.lat,
        "region": cells.region,
        "radius_m": cells.radius_m,
        "limit_m": cells.limit_m,
        "count": cells.count,
    }
    columns |= {f"level_{level}": group for level, group in enumerate(cells.levels, 1)}
    regions = [
        {"name": name, "wkb": base64.b64encode(shapely.to_wkb(polygon)).decode()} for name, polygon in cells.regions
    ]
    facts = {"format": FORMAT, "version": VERSION, "outside": cells.outside, "regions": regions}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(data: bytes) -> GeoCells:
    """Read what `to_bytes` gave; FormatError if it is not that, or is damaged."""
    from placevec.geo.geocells.cells import GeoCells

    try:
        with pa.ipc.open_file(pa.BufferReader(data)) as reader:
            table = reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"not a file of geocells: {str(error).splitlines()[0][:160]}") from None
    facts = _facts(table)
    levels = sorted((name for name in table.column_names if name.startswith("level_")), key=lambda name: int(name[6:]))
    expected = {**_COLUMNS, **dict.fromkeys(levels, pa.int64())}
    for name, kind in expected.items():
        if name not in table.column_names or table.schema.field(name).type != kind or table[name].null_count:
            raise FormatError(f"not a file of geocells: the column {name} is absent, has gaps or is no {kind}")
    columns = {name: table[name].to_numpy() for name in expected}
    try:
        polygons = np.empty(len(facts["regions"]), dtype=object)
        polygons[:] = [shapely.from_wkb(base64.b64decode(item["wkb"])) for item in facts["regions"]]
        return GeoCells(
            regions=Regions(tuple(item["name"] for item in facts["regions"]), polygons),
            centres=LonLat(columns.pop("lon"), columns.pop("lat")),
            levels=np.stack([columns.pop(name) for name in levels]) if levels else np.zeros((0, 0), dtype=np.int64),
            outside=int(facts["outside"]),
            **columns,
        )
    except (KeyError, TypeError, ValueError, shapely.errors.ShapelyError, DataError) as error:
        raise FormatError(f"a file of geocells that is damaged: {error}") from None


def _facts(table: pa.Table) -> dict[str, Any]:
    try:
        facts = json.loads((table.schema.metadata or {})[_KEY])
        kind, version = facts["format"], facts["version"]
    except (KeyError, TypeError, ValueError):
        raise FormatError("not a file of geocells: its footer does not say that it is one") from None
    if kind != FORMAT or version != VERSION:
        raise FormatError(f"geocells of the format {kind} {version}; this placevec reads {FORMAT} {VERSION}")
    return dict(facts)
