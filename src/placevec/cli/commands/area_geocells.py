"""`placevec area geocells`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Out, Quiet


def command(
    out: Out,
    points: Annotated[
        Path, typer.Argument(help="Training points: a table, a CSV or a GeoJSON.", show_default=False, metavar="POINTS")
    ],
    regions: Annotated[str, typer.Option(help="A GeoJSON of regions, dataset:NAME, a study area's folder, or earth.")],
    column: Annotated[str | None, typer.Option(help="The property that names a region; the only one that can.")] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="A region by another name: OLD=NEW; may be repeated.")
    ] = None,
    lon: reads.Lon = "lon",
    lat: reads.Lat = "lat",
    min_points: Annotated[
        int, typer.Option(min=2, help="Smaller cells are merged with others where the limits allow it.")
    ] = 40,
    min_samples: Annotated[int, typer.Option(min=1, help="Neighbours that make surroundings dense (HDBSCAN).")] = 10,
    dense: Annotated[str, typer.Option(help="The largest radius of a cell where points are dense.")] = "5km",
    sparse: Annotated[str, typer.Option(help="The largest radius where they are sparse.")] = "50km",
    per_1000_km2: Annotated[
        float, typer.Option("--per-1000-km2", min=0, help="Cells wanted for every 1,000 km² of a region.")
    ] = 0.0,
    per_1000_points: Annotated[
        float, typer.Option("--per-1000-points", min=0, help="And for every 1,000 points in it.")
    ] = 0.0,
    levels: Annotated[str, typer.Option(help="The largest radii of coarser levels, fine to coarse; or none.")] = (
        "100km,300km"
    ),
    geojson: Annotated[Path | None, typer.Option(help="Write the outlines there as GeoJSON too.")] = None,
    asset: Annotated[Path | None, typer.Option(help="Write the cells there too, as models keep them.")] = None,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Divide regions into geocells: cells of bounded radius, small where training points are dense.

    Clusters of points (HDBSCAN) are split until no point lies farther from the centre of its cell than the limit of
    that cell; a cell is what lies nearest to its centre, within its region. Printed are points, cells, the largest
    radius in km of each region, and the largest share of its limit that a radius reaches.

    Example: placevec area geocells photos.parquet --regions provinces.geojson -o cells.parquet

    Example: placevec area geocells coordinates.csv --lon LON --lat LAT --regions earth --dense 25km --sparse 200km -o
    cells.parquet
    """
    from placevec.cli.output import emit, note, progress
    from placevec.geo.boxes import parse_distance
    from placevec.geo.geocells import GeoCellConfig
    from placevec.tasks.geocells import make_geocells
    from placevec.tasks.regions import parse_renames

    def km(text: str) -> float:
        return parse_distance(text) / 1000.0

    config = GeoCellConfig(
        min_points=min_points,
        min_samples=min_samples,
        dense_km=km(dense),
        sparse_km=km(sparse),
        per_1000_km2=per_1000_km2,
        per_1000_points=per_1000_points,
        levels_km=() if levels == "none" else tuple(km(text) for text in levels.split(",")),
    )
    with progress("geocells", quiet=quiet) as told:
        made = make_geocells(
            points,
            regions,
            out,
            column=column,
            rename=parse_renames(rename or []),
            lon=lon,
            lat=lat,
            config=config,
            geojson=geojson,
            asset=asset,
            progress=told,
        )
    for text in made.notes:
        note(text)
    note(f"{out}: {len(made.cells):,} cells in {made.seconds:.1f} s")
    emit(made.cells.records(), form)
