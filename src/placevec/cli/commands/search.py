"""`placevec search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Bbox, Format, Near, Where, Within


def command(
    tables: Annotated[list[Path], typer.Argument(help="A table, or several of one Space.", show_default=False)],
    like: Annotated[list[str] | None, typer.Option(help="Id of a good example; may be repeated.")] = None,
    unlike: Annotated[list[str] | None, typer.Option(help="Id of a bad example; may be repeated.")] = None,
    at: Annotated[str | None, typer.Option(help="LON,LAT: like the place there.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="A location encoder that gives --at its vector.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    bbox: Bbox = None,
    near: Near = None,
    within: Within = None,
    where: Where = None,
    min_distance: Annotated[
        str | None, typer.Option(help="Hits lie at least this far from the examples, such as 25km.")
    ] = None,
    include_self: Annotated[bool, typer.Option("--include-self", help="The examples may be hits.")] = False,
    form: Format = None,
) -> None:
    """Find the places most like given ones, in a part of the map or everywhere.

    What ran, and whether the answer is exact, is said on stderr.

    Example: placevec search demo/iberia/tables/image.parquet --at -3.7,40.4 --near -3.7,40.4,300km -k 8
    """
    import json
    import sys

    from placevec.cli.commands.options import filter_from, lonlat_from
    from placevec.cli.output import Form, emit, note, plain
    from placevec.geo.boxes import parse_near
    from placevec.tasks.search import search

    model = None
    if encoder is not None:
        from placevec.tasks.encoders import build_encoder

        model = build_encoder(str(encoder))
    hits = search(
        list(tables) if len(tables) > 1 else tables[0],
        like=like or None,
        unlike=unlike or None,
        at=lonlat_from(at),
        encoder=model,
        k=k,
        filter=filter_from(bbox, near, within, where),
        exclude_self=not include_self,
        min_distance_m=None if min_distance is None else parse_near(f"0,0,{min_distance}")[2],
    )
    note(str(hits.plan))
    if form is Form.geojson:
        sys.stdout.write(json.dumps(hits.to_geojson(), default=plain, ensure_ascii=False) + "\n")
    else:
        emit(hits.to_records(), form)
