"""`area patches`: the patches of an area's cells, of places in a file, or of pairs drawn at random, as a patch set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from placevec.area import StudyArea
from placevec.errors import DataError, UsageError
from placevec.sources.patches import Written, draw_pairs, write_patches
from placevec.sources.patches.write import Progress
from placevec.sources.polygons import LAND, read_mask
from placevec.table import Places
from placevec.tasks.inputs import CELLS, Input
from placevec.tasks.inputs import refresh as forget_kept
from placevec.tasks.patch_inputs import LayerOption, Patches, parse_layer


@dataclass(frozen=True)
class PatchSummary:
    """What `area_patches` has made."""

    written: Written  # counts: places = written + skipped
    layers: tuple[str, ...]
    ground_m: float
    pixels: int

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        made = self.written
        return {
            "out": str(made.folder),
            "layers": list(self.layers),
            "ground_m": self.ground_m,
            "pixels": self.pixels,
            "places": made.places,
            "written": made.written,
            "skipped": made.skipped,
            "skipped_because": dict(made.reasons),
            "files": made.files,
            "reused": made.reused,
        }


def area_patches(
    out: str | Path,
    layers: Sequence[LayerOption | str],
    *,
    ground_m: float,
    pixels: int,
    area: str | Path | None = None,
    on: str | Path = CELLS,
    resolution: int | None = None,
    lon: str = "lon",
    lat: str = "lat",
    id: str | None = None,
    samples: int | None = None,
    inner_m: float | None = None,
    outer_m: float | None = None,
    seed: int = 0,
    limit: int | None = None,
    samples_per_file: int = 4096,
    workers: int = 1,
    min_valid: float = 0.5,
    restart: bool = False,
    refresh: bool = False,
    progress: Progress | None = None,
) -> PatchSummary:
    """Write a patch set, going on where a killed run of the same stopped.

    Args:
        out: its folder.
        layers: options of layers, or texts such as "cover=nlcd2011.tif,classes=nlcd".
        ground_m: side of the square in metres.
        pixels: side of the patches in pixels.
        area: folder of a study area: its cells, or with `samples` the region of pairs, which may also be "land" or a
            file of polygons.
        on: a file of places instead.
        resolution: H3 resolution of the cells; by default the area's own.
        lon: the CSV's column of longitudes.
        lat: the CSV's column of latitudes.
        id: the column that names a row.
        samples: draw so many pairs instead: anchors anywhere in the area (without one: on all rasters) and
            neighbours in a ring around them, both with their whole squares on the rasters; see `draw_pairs`.
        inner_m: inner radius of the ring in metres; by default the ground, so that squares of a pair share little.
        outer_m: outer radius; by default four times the inner one.
        seed: of the pairs.
        limit: only the first so many places, or pairs.
        samples_per_file: places of one file.
        workers: threads.
        min_valid: a place of which a layer has a smaller share of valid pixels is skipped.
        restart: forget what is there.
        refresh: fetch again what is kept of rasters that are read over the network.
        progress: told of places done, their number, and what was skipped.

    Raises:
        UsageError: options do not go together.
        DataError: rasters and places have nothing in common, a code is not known, or no place has a patch.
    """
    read = [parse_layer(layer) if isinstance(layer, str) else layer for layer in layers]
    if not read:
        raise UsageError("patches of which rasters? give --layer NAME=RASTER")
    if refresh:
        forget_kept([layer.raster for layer in read])
    patches = Patches(layers=read, ground_m=ground_m, pixels=pixels, min_valid=min_valid)
    if samples is None and (inner_m is not None or outer_m is not None):
        raise UsageError("--inner and --outer are for pairs: give --samples, how many")
    if samples is None:
        places = Input(
            on=str(on),
            area=None if area is None else str(area),
            resolution=resolution,
            lon=lon,
            lat=lat,
            id=id,
            limit=limit,
        ).places()
        source = patches.open(places)
    else:
        if str(on) != CELLS or resolution is not None:
            raise UsageError("--samples draws places anywhere in the area: leave out --on and --resolution")
        empty = patches.open(Places.create([]))
        inner = ground_m if inner_m is None else inner_m
        places = draw_pairs(
            None if area is None else _region(area),
            samples if limit is None else min(samples, limit),
            inner_m=inner,
            outer_m=4.0 * inner if outer_m is None else outer_m,
            seed=seed,
            layers=empty.layers,
            ground_m=ground_m,
        )
        source = empty.elsewhere(places)
    if not len(places):
        raise DataError("there is no place to read: give an area with cells, a file with rows, or more samples")
    made = write_patches(
        source, out, samples_per_file=samples_per_file, workers=workers, restart=restart, progress=progress
    )
    if not made.written:
        because = next(iter(made.reasons), "no reason was given")
        raise DataError(f"none of the {made.places:,} places has a patch ({because}): give other rasters or places")
    return PatchSummary(made, tuple(layer.name for layer in read), float(ground_m), int(pixels))


def _region(area: str | Path) -> BaseGeometry:
    if str(area) != LAND and not Path(area).is_file():
        return StudyArea.open(area).boundary
    return MultiPolygon(read_mask(area).polygons.tolist())
