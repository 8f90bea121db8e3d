"""`placevec search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from placevec.cli.commands.options import Bbox, Format, Near, Where, Within

if TYPE_CHECKING:
    from placevec.results import Hits

Model = Annotated[
    str | None, typer.Option(help="Folder of a pair of towers, or hf:NAME; by default the pair beside the table.")
]


def command(
    tables: Annotated[
        list[str], typer.Argument(help="A table, or several of one Space; or a store by its URL.", show_default=False)
    ],
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="In words; may be repeated.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Like an image file; may be repeated.")] = None,
    like: Annotated[list[str] | None, typer.Option(help="Id of a good example; may be repeated.")] = None,
    not_text: Annotated[list[str] | None, typer.Option(help="Unlike these words; may be repeated.")] = None,
    not_image: Annotated[list[Path] | None, typer.Option(help="Unlike an image file; may be repeated.")] = None,
    unlike: Annotated[list[str] | None, typer.Option(help="Id of a bad example; may be repeated.")] = None,
    at: Annotated[str | None, typer.Option(help="LON,LAT: like the place there.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="A location encoder that gives --at its vector.")] = None,
    model: Model = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    bbox: Bbox = None,
    near: Near = None,
    within: Within = None,
    where: Where = None,
    min_distance: Annotated[
        str | None, typer.Option(help="Hits lie at least this far from the examples, such as 25km.")
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Instead of -k: the best-matching share of the area that may be found, such as 0.1."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the hits: .geojson, .parquet, .csv, .gpkg, .tif, .pmtiles."),
    ] = None,
    include_self: Annotated[bool, typer.Option("--include-self", help="The examples may be hits.")] = False,
    form: Format = None,
) -> None:
    """Find places in words, by a picture, or like others, in a part of the map or everywhere.

    Examples of all kinds mix: --image now.png --text "a river" asks for what is like the image and has a river.
    What ran, whether the answer is exact, and whether anything fits a text at all, is said on stderr.

    Example: placevec search ucm.parquet --text "two tennis courts beside trees" -k 8

    Example: placevec search qdrant://localhost:6333/places --like 851f1d4bfffffff --near 8.6,50.1,300km

    Example: placevec search landscape.parquet --like 892986a0c2bffff --coverage 0.1 -o like.geojson

    Example: placevec search demo/iberia/tables/image.parquet --at -3.7,40.4 --near -3.7,40.4,300km -k 8
    """
    import json
    import sys

    from placevec.cli.commands.options import filter_from, lonlat_from
    from placevec.cli.output import Form, emit, note, plain
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.search import search

    of_places = None
    if encoder is not None:
        from placevec.tasks.encoders import build_encoder

        of_places = build_encoder(str(encoder))
    words: dict[str, Any] = {
        "text": text or None,
        "image": image or None,
        "like": like or None,
        "not_text": not_text or None,
        "not_image": not_image or None,
        "unlike": unlike or None,
        "at": lonlat_from(at),
        "encoder": of_places,
        "model": model,
        "filter": filter_from(bbox, near, within, where),
    }
    if coverage is not None:
        others = {"--min-distance": min_distance, "--include-self": include_self or None}
        hits = _covering(tables, coverage, others, **words)
    else:
        hits = search(
            list(tables) if len(tables) > 1 else tables[0],
            k=k,
            exclude_self=not include_self,
            min_distance_m=None if min_distance is None else parse_distance(min_distance),
            **words,
        )
    note(str(hits.plan))
    if out is not None:
        from placevec.tasks.export_places import export_hits

        emit([export_hits(hits, out)], form)
        return
    if form is Form.geojson:
        sys.stdout.write(json.dumps(hits.to_geojson(), default=plain, ensure_ascii=False) + "\n")
        return
    shown = form is Form.table or (form is None and sys.stdout.isatty())
    emit(_for_reading(hits) if shown else hits.to_records(), form)


def _covering(tables: list[str], share: float, others: dict[str, Any], **words: Any) -> Hits:
    """The best-matching share of the area of one table, by what `search` takes."""
    from placevec.errors import UsageError
    from placevec.tasks.map_similarity import coverage

    if len(tables) > 1 or "://" in tables[0]:
        raise UsageError("--coverage goes with one table of this machine: scores of all its rows are compared")
    odd = next((name for name, value in others.items() if value is not None), None)
    if odd is not None:
        raise UsageError(f"{odd} does not go with --coverage, which takes all that matches best")
    return coverage(tables[0], share, **words)


def _for_reading(hits: Hits) -> list[dict[str, Any]]:
    """The records without what a person has no use for: empty columns, addresses of pixels, ids said twice."""
    records = hits.to_records()
    names = list(dict.fromkeys(name for record in records for name in record))
    kept = [name for name in names if name != "asset" and any(record.get(name) is not None for record in records)]
    for again in ("place", "file"):
        if all(record.get(again) in (None, record["id"]) for record in records):
            kept = [name for name in kept if name != again]
    rounded = [{name: record.get(name) for name in kept} for record in records]
    if hits.relevance is not None:
        rounded = [{**one, "relevance": _round(one.get("relevance"))} for one in rounded]
    return rounded


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
