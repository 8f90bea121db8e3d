"""Patches: placevec against the naive reads of each cell, in one run; and a tile of 36,000 x 36,000 pixels.

"warped" reads, for every cell and every raster, a window through rasterio and warps it to the square of the place:
the same pixels as placevec's (a claim counts them), cell after cell. "window" is what ckrapu/vectorgeo does when it
does not hold the whole raster in memory: for every cell the file is opened, as many pixels of the raster as the patch
has are read around its centre, and codes are looked up by `np.vectorize`. That is less work than asked for: no common
ground of the layers, no metres, and it is timed as a bound. All work in one thread, GDAL's cache of blocks is warm.

Needs the real data (``PLACEVEC_DATA``). ``python benchmarks/patches.py [--smoke]``.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
import rasterio.windows
import shapely
from common import Targets, fresh, in_turn, machine, report, show, spread
from rasterio.crs import CRS
from rasterio.transform import Affine

GROUND, PIXELS = 2000.0, 32
MARGIN = 1.3  # a naive window is wider than the square, which is turned against the raster
NLCD, SRTM = "zion/nlcd2011.tif", "zion/srtm.tif"
WORLDCOVER = "worldcover/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
WANTED, MEMORY_MB = 20.0, 1500.0


def layers_of(folder: Path, which: str) -> list[Any]:
    from placevec.sources.classes import class_table
    from placevec.sources.patches import Layer
    from placevec.sources.rasters import Raster

    if which == "zion":
        return [
            Layer("cover", Raster(folder / NLCD), class_table("nlcd")),
            Layer("elevation", Raster(folder / SRTM)),
        ]
    return [Layer("cover", Raster(folder / WORLDCOVER), class_table("worldcover"))]


def cells_of(layers: list[Any], which: str, resolution: int) -> Any:
    """The cells whose squares lie on the rasters."""
    from placevec.geo.cells import H3Cells
    from placevec.sources.patches.overlap import on_all
    from placevec.tasks.inputs import cell_places

    box = shapely.box(6, 0, 9, 3) if which == "worldcover" else shapely.box(-113.25, 37.12, -112.84, 37.53)
    places = cell_places(H3Cells(resolution).cover(box), resolution)
    return places.take(np.flatnonzero(on_all(layers, places.lon, places.lat)))


def warped(rasters: list[tuple[Any, str, Any]], lon: np.ndarray, lat: np.ndarray) -> dict[str, np.ndarray]:
    """Each cell on its own: (dataset, name, class table or None), as `PatchSource.read` gives them."""
    step = GROUND / PIXELS
    goal = Affine(step, 0, -GROUND / 2, 0, -step, GROUND / 2)
    out: dict[str, list[np.ndarray]] = {name: [] for _, name, _ in rasters}
    for x, y in zip(lon.tolist(), lat.tolist(), strict=True):
        local = CRS.from_proj4(f"+proj=laea +lat_0={y!r} +lon_0={x!r} +datum=WGS84 +units=m")
        half = GROUND / 2 * MARGIN
        for source, name, classes in rasters:
            bounds = rasterio.warp.transform_bounds(local, source.crs, -half, -half, half, half)
            (top, bottom), (left, right) = rasterio.windows.from_bounds(*bounds, source.transform).toranges()
            rows, cols = (math.floor(top), math.ceil(bottom)), (math.floor(left), math.ceil(right))
            window = rasterio.windows.Window.from_slices(rows, cols, boundless=True)
            values = source.read(1, window=window, boundless=True, fill_value=source.nodata)
            patch = np.empty((PIXELS, PIXELS), dtype=np.float32 if classes is None else values.dtype)
            rasterio.warp.reproject(
                values,
                patch,
                src_transform=source.window_transform(window),
                src_crs=source.crs,
                src_nodata=source.nodata,
                dst_transform=goal,
                dst_crs=local,
                dst_nodata=np.nan if classes is None else source.nodata,
                resampling=rasterio.warp.Resampling.bilinear if classes is None else rasterio.warp.Resampling.nearest,
            )
            out[name].append(patch if classes is None else classes.index(patch))
    return {name: np.stack(patches) for name, patches in out.items()}


def window(paths: list[tuple[Path, Any]], lon: np.ndarray, lat: np.ndarray) -> list[np.ndarray]:
    """As many pixels of each raster as the patch has, around each cell: (path, class table or None)."""
    found = []
    half = PIXELS // 2
    lookups = [None if table is None else np.vectorize(table.indices.get) for _, table in paths]
    for x, y in zip(lon.tolist(), lat.tolist(), strict=True):
        for (path, _), lookup in zip(paths, lookups, strict=True):
            with rasterio.open(path) as source:
                at = rasterio.warp.transform("OGC:CRS84", source.crs, [x], [y])
                row, col = source.index(at[0][0], at[1][0])
                patch = source.read(1, window=((row - half, row + half), (col - half, col + half)))
            found.append(patch if lookup is None or not patch.size else lookup(patch))
    return found


def against_naive(folder: Path, which: str, resolution: int, rounds: int, few: int, targets: Targets) -> list[str]:
    """A row of the table; the naive reads have `few` of the cells, or the run would take hours."""
    from placevec.sources.patches import PatchSource

    layers = layers_of(folder, which)
    places = cells_of(layers, which, resolution)
    source = PatchSource(places, layers, GROUND, PIXELS)
    rows = np.arange(len(places))
    if which == "worldcover":  # where there is land: the sea would be too easy for both
        land = source.read(rows[:: max(1, len(rows) // 4000)]).rows
        lon, lat = places.lon[land[len(land) // 2]], places.lat[land[len(land) // 2]]
        rows = np.flatnonzero(np.hypot(places.lon - lon, places.lat - lat) < 0.25)
    some = rows[len(rows) // 3 :][:few]  # neighbours, as a job has them
    paths = {"cover": folder / (WORLDCOVER if which == "worldcover" else NLCD), "elevation": folder / SRTM}
    opened = [(rasterio.open(paths[layer.name]), layer.name, layer.classes) for layer in layers]
    ours = source.read(some)
    theirs = warped(opened, places.lon[ours.rows], places.lat[ours.rows])
    agree = float(np.mean(ours.data["cover"] == theirs["cover"]))
    batches = [rows[first : first + 1024] for first in range(0, len(rows), 1024)]

    def fast() -> None:
        one = PatchSource(places, layers_of(folder, which), GROUND, PIXELS)  # with nothing in its caches
        for part in batches:
            one.read(part)

    files = [(paths[layer.name], layer.classes) for layer in layers]
    times = in_turn(
        {
            "placevec": fast,
            "warped": lambda: warped(opened, places.lon[some], places.lat[some]),
            "window": lambda: window(files, places.lon[some], places.lat[some]),
        },
        rounds,
        clock=time.process_time,
    )
    scale = len(rows) / len(some)
    for name in ("warped", "window"):
        times.seconds[name] = [seconds * scale for seconds in times.seconds[name]]
    ratios = {name: times.ratio("placevec", name) for name in ("warped", "window")}
    title = f"{which} res {resolution}"
    for name, ratio in ratios.items():
        targets.claim(f"{title}: at least {WANTED:.0f} times the read by {name}", ratio[1] >= WANTED, spread(ratio))
    targets.claim(f"{title}: the same classes as warped", agree >= 0.99, f"{agree:.2%} of pixels")
    return [
        f"{title}, {len(layers)} layers",
        f"{len(rows):,}",
        *(f"{len(rows) / times.median(name):,.0f}" for name in ("placevec", "warped", "window")),
        spread(ratios["warped"]),
        spread(ratios["window"]),
    ]


def write(folder: Path, which: str, resolution: int, limit: int | None) -> None:
    """Write all cells as a patch set, in this process; reports counts, seconds and the peak of memory."""
    from placevec.sources.patches import PatchSet, PatchSource, write_patches

    layers = layers_of(folder, which)
    places = cells_of(layers, which, resolution)
    with tempfile.TemporaryDirectory() as goal:
        began = time.perf_counter()
        made = write_patches(PatchSource(places, layers, GROUND, PIXELS), goal, limit=limit)
        seconds = time.perf_counter() - began
        stored = PatchSet(goal)
        rng = np.random.default_rng(0)
        began = time.perf_counter()
        for _ in range(40):
            stored.read(rng.integers(0, len(stored), 256))
        report(
            places=made.places,
            written=made.written,
            skipped=made.skipped,
            reasons=dict(made.reasons),
            seconds=seconds,
            random=40 * 256 / (time.perf_counter() - began),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, for a look; its figures prove little")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(os.environ.get("PLACEVEC_DATA", ""))
    if not os.environ.get("PLACEVEC_DATA") or not (folder / NLCD).exists() or not (folder / WORLDCOVER).exists():
        print("skipped: the real rasters are not here; set PLACEVEC_DATA to the folder of data")
        return
    if options.step:
        which, resolution = options.step.split(":")
        write(folder, which, int(resolution), 2000 if options.smoke else None)
        return
    print(machine())
    targets = Targets()
    few = 60 if options.smoke else 300
    runs = [("zion", 9)] if options.smoke else [("zion", 9), ("zion", 10), ("worldcover", 8)]
    rows = [
        against_naive(folder, which, level, 1 if options.smoke else options.rounds, few, targets)
        for which, level in runs
    ]
    show(
        f"{GROUND:g} m x {PIXELS} pixels, one thread (time of the processor)",
        ["cells", "number", "placevec, patches/s", "warped", "window", "faster than warped", "faster than window"],
        rows,
    )
    made = []
    for which, level in runs:
        found = fresh(__file__, "--step", f"{which}:{level}", *(["--smoke"] if options.smoke else []))
        made.append(
            [
                f"{which}, res {level}",
                f"{found['places']:,}",
                f"{found['written']:,}",
                f"{found['skipped']:,}",
                f"{found['seconds']:.1f}",
                f"{found['places'] / found['seconds']:,.0f}",
                f"{found['random']:,.0f}",
                f"{found['peak_mb']:.0f}",
            ]
        )
        lost = found["places"] - found["written"] - found["skipped"]
        targets.claim(f"{which} res {level}: nothing is lost", lost == 0, f"{lost} places")
        targets.claim(
            f"{which} res {level}: memory under {MEMORY_MB:.0f} MB",
            found["peak_mb"] < MEMORY_MB,
            f"{found['peak_mb']:.0f} MB",
        )
    show(
        "Written as a patch set, in a process of its own, one thread",
        ["cells", "places", "written", "skipped", "seconds", "places/s", "random rows/s read back", "peak MB"],
        made,
    )
    targets.done()


if __name__ == "__main__":
    main()
