"""A STAC item that describes a table, with the Embedding extension v0.0.1."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from placevec.files import write_text
from placevec.table.places import Places
from placevec.table.stored import StoredTable

EXTENSION = "https://geo-embeddings.github.io/embeddings-stac-specification/v0.0.1/schema.json"
_MEDIA = {".parquet": "application/vnd.apache.parquet", ".lance": "application/vnd.lance"}


def stac_item(table: StoredTable) -> dict[str, Any]:
    """The STAC item of a stored table: its box, its times, its Space and what it was made from."""
    path = Path(str(table.path))
    names = [n for n in ("time_start", "time_end") if table.has(n)]
    places = table.places(names)
    bbox, geometry = _extent(places)
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [EXTENSION],
        "id": path.stem,
        "geometry": geometry,
        "properties": {
            **_times(places, path),
            **table.meta.stac_properties(),
            "placevec:space": table.space.id,
            "placevec:fingerprint": table.fingerprint(),
            "placevec:rows": table.num_rows,
        },
        "links": [{"rel": "emb:source-data", "href": source.href} for source in table.meta.sources],
        "assets": {
            "embeddings": {
                "href": f"./{path.name}",
                "type": _MEDIA.get(path.suffix, "application/octet-stream"),
                "roles": ["data"],
            }
        },
    }
    if bbox is not None:
        item["bbox"] = bbox
    return item


def write_stac_item(table: StoredTable) -> Path:
    """Write the item beside the table, as ``NAME.stac.json``; returns its path."""
    path = Path(str(table.path))
    goal = path.with_name(f"{path.stem}.stac.json")
    write_text(goal, json.dumps(stac_item(table), indent=2) + "\n")
    return goal


def _extent(places: Places) -> tuple[list[float] | None, dict[str, Any] | None]:
    located = places.located
    if not located.any():
        return None, None
    lon, lat = places.lon[located], places.lat[located]
    west, south, east, north = (float(v) for v in (lon.min(), lat.min(), lon.max(), lat.max()))
    if east - west > 180.0:
        # Rows on both sides of the antimeridian: the box that leaves out the widest gap between longitudes.
        around = np.sort(lon % 360.0)
        gaps = np.diff(np.concatenate((around, [around[0] + 360.0])))
        after = int(np.argmax(gaps))
        west = float((around[(after + 1) % len(around)] + 180.0) % 360.0 - 180.0)
        east = float((around[after] + 180.0) % 360.0 - 180.0)
    if west <= east:
        rings = [[[_ring(west, south, east, north)]]]
        return [west, south, east, north], {"type": "Polygon", "coordinates": rings[0][0]}
    parts = [[_ring(west, south, 180.0, north)], [_ring(-180.0, south, east, north)]]
    return [west, south, east, north], {"type": "MultiPolygon", "coordinates": parts}


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _times(places: Places, path: Path) -> dict[str, Any]:
    if not places.has("time_start"):
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return {"datetime": written.isoformat(timespec="seconds").replace("+00:00", "Z")}
    import pyarrow.compute as pc

    start = pc.min(places.data["time_start"]).as_py()
    end = pc.max(places.data["time_end" if places.has("time_end") else "time_start"]).as_py()
    return {
        "datetime": None,
        "start_datetime": start.isoformat().replace("+00:00", "Z"),
        "end_datetime": end.isoformat().replace("+00:00", "Z"),
    }
