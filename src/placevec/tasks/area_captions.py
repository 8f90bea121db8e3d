"""`area captions`: what maps say of a region's tiles, in sentences, and with a raster the pictures beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely

from placevec.area import StudyArea
from placevec.errors import DataError, UsageError
from placevec.files import whole
from placevec.geo.cells import H3Cells
from placevec.geo.frames import square_window
from placevec.sources.base import Batch, Rows, Source
from placevec.sources.places import read_places
from placevec.sources.tag_captions import tag_captions, write_caption_set
from placevec.table import Places, Skipped
from placevec.table.skipped import skipped_counts, write_skipped
from placevec.tasks.inputs import CELLS, cell_places, open_raster

if TYPE_CHECKING:
    from placevec.sources.images import Stretch

Progress = Callable[[int, int, Mapping[str, Any]], None]

PART = 2048  # tiles whose captions are made between two words of progress
PIXELS = 64
TABLE = ".parquet"


@dataclass(frozen=True)
class CaptionSummary:
    """What `area_captions` has made."""

    out: Path  # the folder with captions.json and images, or the Parquet file
    tiles: int  # tiles in = `captioned` + `skipped`
    captioned: int  # tiles that have captions, and with a raster a picture
    captions: int  # of them all
    skipped: int  # tiles that have none
    skipped_because: Mapping[str, int]  # how many for each "stage: reason"

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {**vars(self), "out": str(self.out)}


def area_captions(
    out: str | Path,
    *,
    area: str | Path | StudyArea | None = None,
    on: str | Path = CELLS,
    resolution: int | None = None,
    lon: str = "lon",
    lat: str = "lat",
    id: str | None = None,
    limit: int | None = None,
    osm: str | Path | None = None,
    cover: str | None = None,
    classes: str | Path | Mapping[Any, Any] | None = None,
    ground_m: float | None = None,
    raster: str | None = None,
    pixels: int | None = None,
    bands: Sequence[int] | None = None,
    stretch: Stretch = "auto",
    count: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> CaptionSummary:
    """Make captions for the tiles of a region from OpenStreetMap and land cover.

    A tile is the square of `ground_m` around a place; without that the H3 cell, or the polygon of a place that is one.

    Args:
        out: with a raster a folder, ``images/`` and ``captions.json``, which `train image-text` reads; else a Parquet
            file with one row a caption (id, geometry of the tile, place, text). An older one is replaced. Tiles that
            have no caption stand in ``NAME.skipped.parquet`` beside it.
        area: a study area or its folder, whose cells are the tiles, and whose bounds limit what is read of `osm`.
        on: "cells", or a file of places: table, CSV, GeoJSON.
        resolution: H3 resolution of the cells; by default the area's.
        lon: the CSV's column of longitudes.
        lat: the CSV's column of latitudes.
        id: the column that names a place.
        limit: only the first so many places, for a trial.
        osm: an OpenStreetMap file.
        cover: a raster of land-cover classes: a file, an address or dataset:NAME.
        classes: what its values stand for: "nlcd", "worldcover", a JSON file, or a mapping.
        ground_m: side of a tile in metres.
        raster: what pictures are cut from.
        pixels: side of a picture; by default 64.
        bands: numbers of the raster's bands that are red, green and blue; by default all, which have to be 1 or 3.
        stretch: how values of more than 8 bits become 8, of each picture alone unless two values are given.
        count: captions of a tile; fewer where little is known.
        seed: of the wordings.
        progress: called with the tiles done, all tiles, and counts.

    Raises:
        UsageError: no map, no places, a raster without the side of the tiles, or an output of the wrong kind.
        FormatError: a map cannot be read.
        DataError: no tile has a caption.
    """
    goal = Path(out)
    if osm is None and cover is None:
        raise UsageError("captions are made of maps: give osm, cover, or both")
    if raster is None and goal.suffix != TABLE:
        raise UsageError(
            f"{out}: captions alone are a table, name it {goal.name or 'captions'}{TABLE}; or give a raster to cut "
            "pictures from"
        )
    if raster is not None and goal.suffix == TABLE:
        raise UsageError(f"{out}: captions with pictures are a folder, leave out {TABLE}")
    if raster is not None and ground_m is None:
        raise UsageError("pictures need the side of a tile on the ground: give ground, such as 500m")
    strays = [name for name, value in (("pixels", pixels), ("bands", bands)) if raster is None and value is not None]
    if strays:
        raise UsageError(f"{strays[0]} is of pictures: give the raster that they are cut from")
    given = _places(area, on, resolution, lon, lat, id, limit)
    places = _tiles(given, ground_m)
    chips = None
    if raster is not None and ground_m is not None:
        chips = _chips(given, raster, ground_m, pixels or PIXELS, bands, progress)
    captions, skipped = _captions(places, osm, cover, classes, count, seed, progress)
    if not len(captions):
        because = next(iter(skipped_counts(skipped)), "there are no tiles")
        raise DataError(
            f"none of the {len(places):,} tiles has a caption ({because}): give other maps, or larger tiles"
        )
    if chips is None:
        _write_table(captions, goal)
        tiles = set(captions.keys.tolist())
    else:
        # That a tile has no caption is known, with its reason.
        lost = write_caption_set(goal, chips, captions, stretch=stretch)
        skipped += [one for one in lost if one.stage != "caption"]
        tiles = set(captions.keys.tolist()) - _keys_of(places, lost)
    write_skipped(goal, skipped)
    return CaptionSummary(
        goal,
        len(places),
        len(tiles),
        int(np.isin(captions.keys.astype(str), sorted(tiles)).sum()),
        len(skipped),
        skipped_counts(skipped),
    )


def _places(
    area: str | Path | StudyArea | None,
    on: str | Path,
    resolution: int | None,
    lon: str,
    lat: str,
    id: str | None,
    limit: int | None,
) -> Places:
    """The places, cells with their outline as geometry."""
    if str(on) != CELLS:
        found = read_places(on, lon=lon, lat=lat, id=id)
    else:
        if area is None:
            raise UsageError("the cells of which area? give the folder of a study area, or places (on)")
        home = area if isinstance(area, StudyArea) else StudyArea.open(area)
        level = home.resolution if resolution is None else resolution
        points = cell_places(home.cells(resolution), level)
        outline = H3Cells(level).polygons(points.column("h3"))
        found = Places.create(points.ids, geometry=outline, h3=points.column("h3"))
    return found if limit is None else found.take(np.arange(min(limit, len(found))))


def _tiles(places: Places, ground_m: float | None) -> Places:
    """The places with the outline of their tiles as geometry; those without a geometry stay so."""
    geometry = places.geometries()
    if ground_m is None:
        if (shapely.get_type_id(geometry) == 0).any():
            raise UsageError("the places are points: give ground, the side of their tiles, such as 500m")
        return places
    rows = np.flatnonzero(places.located)
    outline = np.full(len(places), None, dtype=object)
    if len(rows):
        outline[rows] = square_window(places.lonlat(rows), ground_m)
    columns = {name: places.data[name] for name in ("place", "h3") if places.has(name)}
    return Places.create(places.data["id"].combine_chunks(), geometry=outline, **columns)


def _captions(
    places: Places,
    osm: str | Path | None,
    cover: str | None,
    classes: str | Path | Mapping[Any, Any] | None,
    count: int,
    seed: int,
    progress: Progress | None,
) -> tuple[Places, list[Skipped]]:
    """The captions of all tiles, part by part: those of a tile do not depend on the others."""
    features: Any = osm
    bounds = shapely.total_bounds(places.geometries()[places.located])
    if osm is not None and np.isfinite(bounds).all():
        from placevec.sources.osm import tagged

        west, south, east, north = bounds.tolist()
        _tell(progress, 0, len(places), {"reading": Path(osm).name})
        features = tagged(osm, box=(west, south, east, north))
    ground = None if cover is None else open_raster(cover)[0]
    parts: list[pa.Table] = []
    skipped: list[Skipped] = []
    for first in range(0, max(1, len(places)), PART):
        some = places.take(np.arange(first, min(first + PART, len(places))))
        found = tag_captions(some, osm=features, cover=ground, classes=classes, count=count, seed=seed)
        parts.append(found.places.data)
        skipped += found.skipped
        _tell(progress, first + len(some), len(places), {"without captions": len(skipped)})
    # A part without captions has a column of texts that knows no type.
    return Places(pa.concat_tables(parts, promote_options="default")), skipped


def _chips(
    places: Places,
    raster: str,
    ground_m: float,
    pixels: int,
    bands: Sequence[int] | None,
    progress: Progress | None,
) -> Source:
    """The pictures around the middle of each place."""
    from placevec.sources.chips import ChipSource

    opened = open_raster(raster)[0]
    wanted = list(bands) if bands is not None else list(range(1, opened.count + 1))
    if len(wanted) not in (1, 3):
        raise UsageError(
            f"{raster} has {opened.count} bands, and pictures have three: name those of red, green and blue (bands)"
        )
    if min(wanted) < 1 or max(wanted) > opened.count:
        raise UsageError(f"{raster} has the bands 1 to {opened.count}, not {max(wanted)}: name those of the pictures")
    middle = np.full(len(places), None, dtype=object)
    middle[places.located] = shapely.points(places.lon[places.located], places.lat[places.located])
    columns = {"place": places.data["place"]} if places.has("place") else {}
    points = Places.create(places.data["id"].combine_chunks(), geometry=middle, **columns)
    return _Pictures(ChipSource(points, opened, ground_m, pixels), [band - 1 for band in wanted], progress)


class _Pictures:
    """Some bands of the images of a source; tells how many were read.

    Args:
        source: with "image".
        bands: from 0.
        progress: told of it.
    """

    def __init__(self, source: Source, bands: Sequence[int], progress: Progress | None) -> None:
        self.source = source
        self.bands = list(bands)
        self.progress = progress
        self.done = 0

    def places(self) -> Places:
        """All places of the source."""
        return self.source.places()

    def read(self, rows: Rows) -> Batch:
        """The images of `rows`."""
        batch = self.source.read(rows)
        self.done += len(rows)
        _tell(self.progress, self.done, len(self.source.places()), {"writing": "pictures"})
        return replace(batch, data={**batch.data, "image": batch.data["image"][:, self.bands]})


def _keys_of(places: Places, skipped: Sequence[Skipped]) -> set[str]:
    rows = places.rows_of([one.id for one in skipped])
    return {str(key) for key in places.keys[rows]}


def _write_table(captions: Places, goal: Path) -> None:
    """The captions as GeoParquet, which other programs read as well; `input_files.read_caption_table` reads it."""
    import pyarrow.parquet as pq

    kinds = sorted({one.geom_type for one in captions.geometries() if one is not None})
    column = {"encoding": "WKB", "geometry_types": kinds}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    with whole(goal) as part:
        pq.write_table(captions.data.replace_schema_metadata({"geo": json.dumps(geo)}), part, compression="zstd")


def _tell(progress: Progress | None, done: int, total: int, facts: Mapping[str, Any]) -> None:
    if progress is not None:
        progress(done, total, facts)
