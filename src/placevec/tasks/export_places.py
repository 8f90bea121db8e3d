"""Places without vectors, such as hits, scores and layers of a map, in the forms of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from placevec.errors import UsageError
from placevec.results import Hits
from placevec.sources.exports import (
    GeometryOf,
    OgrDriver,
    with_geometry,
    write_csv,
    write_geojson,
    write_geoparquet,
    write_ogr,
)
from placevec.table import Places
from placevec.tasks.export_cog import Projection, export_cog
from placevec.tasks.export_forms import form_of, size_of
from placevec.tasks.export_tiles import Progress, export_tiles

PLACE_FORMS = ("parquet", "csv", "geojson", "flatgeobuf", "geopackage", "cog", "pmtiles", "mvt")
DRAWN_FORMS = ("cog", "pmtiles", "mvt")


def export_places(
    places: Places,
    out: str | Path,
    *,
    form: str | None = None,
    geometry: GeometryOf = "stored",
    columns: Sequence[str] | None = None,
    pixel_m: float | None = None,
    projection: Projection = "lonlat",
    layer: str | None = None,
    attribution: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write places to `out`: GeoParquet, CSV, GeoJSON, FlatGeobuf, GeoPackage, a raster or vector tiles.

    Args:
        places: what is written.
        out: where to write; its ending says the form, where `form` does not.
        form: one of `PLACE_FORMS`.
        geometry: as "stored", as a "point" each, or as the outline of its H3 "cell". A raster and tiles show cells
            where there is `h3`, unless "point" is asked for.
        columns: which attributes; all by default (of a raster: all that are numbers).
        pixel_m: of a raster, see `export_cog`.
        projection: of a raster.
        layer: name of the layer of tiles.
        attribution: of tiles.
        progress: of a raster and of tiles.

    Returns:
        path, form, rows and bytes, and what `export_cog` and `export_tiles` tell.

    Raises:
        UsageError: an unknown form, a column that there is not, cells asked of places without `h3`.
    """
    used = form or form_of(out)
    if used not in PLACE_FORMS:
        raise UsageError(f"places without vectors do not go to {used!r}; choose one of {', '.join(PLACE_FORMS)}")
    if geometry == "cell" and not places.has("h3"):
        raise UsageError("there is no column `h3`, so the rows are no cells: export points")
    if used in DRAWN_FORMS:
        drawn = places.without("h3") if geometry == "point" else places
        summary: dict[str, Any] = {"path": str(out), "form": used}
        if used == "cog":
            summary |= export_cog(
                drawn, out, columns=columns, pixel_m=pixel_m, projection=projection, progress=progress
            )
        else:
            summary |= export_tiles(
                drawn,
                out,
                "mvt" if used == "mvt" else "pmtiles",
                columns=columns,
                layer=layer,
                attribution=attribution,
                progress=progress,
            )
        return {**summary, "bytes": size_of(Path(out))}
    for name in columns or ():
        if not places.has(name):
            known = ", ".join(places.attributes) or "none"
            raise UsageError(f"there is no column {name!r}; the attributes are: {known}")
    shaped = with_geometry(places, geometry)
    if columns is not None:
        shaped = Places(shaped.data.select(list(dict.fromkeys(("id", "geometry", *columns)))))
    rows = _write(shaped, out, used)
    return {"path": str(out), "form": used, "rows": rows, "bytes": size_of(Path(out))}


def export_hits(hits: Hits, out: str | Path, **words: Any) -> dict[str, Any]:
    """Write hits with their rank, score and relevance; `words` are those of `export_places`."""
    return export_places(hits_places(hits), out, **words)


def hits_places(hits: Hits) -> Places:
    """The places of hits with `rank` (from 1), `score` and, where there are any, `relevance` and `table`.

    An attribute of such a name keeps it with a line below, as in the records of the hits.
    """
    added: dict[str, Any] = {"rank": np.arange(1, len(hits) + 1), "score": hits.scores}
    if hits.relevance is not None:
        added["relevance"] = hits.relevance
    if hits.origin:
        added["table"] = np.array(hits.origin, dtype=object)
    taken = {name: f"{name}_" for name in hits.places.attributes if name in added}
    data = hits.places.data.rename_columns([taken.get(name, name) for name in hits.places.data.schema.names])
    places = Places(data.drop_columns([name for name in ("bbox", "embedding") if name in data.schema.names]))
    for name, values in added.items():
        places = places.with_column(name, values)
    return places


def _write(places: Places, out: str | Path, form: str) -> int:
    if form == "parquet":
        return write_geoparquet([places], out)
    if form == "csv":
        return write_csv([places], out, vectors=False)
    if form == "geojson":
        return write_geojson([places], out)
    driver: OgrDriver = "FlatGeobuf" if form == "flatgeobuf" else "GPKG"
    return write_ogr([places], out, driver, indexed=form == "geopackage" or bool(places.located.all()))
