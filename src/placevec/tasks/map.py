"""`map`: a table or a grid on the map, in the colours of its vectors, of a column, or of the likeness to a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from placevec.area import StudyArea
from placevec.atlas.colour import Scheme
from placevec.atlas.frames import Projection
from placevec.atlas.legends import Scale
from placevec.errors import UsageError
from placevec.grid import EmbeddingGrid
from placevec.table import EmbeddingTable, Filter, StoredTable, open_table
from placevec.tasks.coverage import check_share
from placevec.tasks.export_forms import form_of
from placevec.tasks.export_places import DRAWN_FORMS, export_places
from placevec.tasks.map_basis import shared_basis
from placevec.tasks.map_grid import GridSubject
from placevec.tasks.map_similarity import region_rows, with_free_column
from placevec.tasks.map_subjects import Drawable, Picture, Query, Subject, View, queries
from placevec.tasks.map_table import TableSubject

Layout = Literal["wide", "narrow"]
Tables = Sequence[str | Path | StoredTable | EmbeddingTable]


@dataclass(frozen=True)
class Drawn:
    """What was written for one table or grid.

    Attributes:
        png: the figure.
        geotiff: the colours (or values) as a georeferenced raster, or None.
        rows: how many rows (of a grid: pixels with a value) are on the map.
        unlocated: how many have no geometry and are not.
        hidden: how many are smaller than a pixel and lie under a neighbour.
        noun: what is counted, "places" or "pixels".
        said: remarks, such as where the query lies and how far colours agree with an older map.
    """

    png: Path
    geotiff: Path | None
    rows: int
    unlocated: int
    hidden: int
    noun: str = "places"
    said: tuple[str, ...] = ()


def map_tables(
    tables: Sequence[Drawable],
    out: str | Path | Sequence[str | Path],
    *,
    by: str = "pca",
    like: str | Sequence[str] | None = None,
    unlike: str | Sequence[str] | None = None,
    at: tuple[float, float] | None = None,
    filter: Filter | None = None,
    coverage: float | None = None,
    area: str | Path | None = None,
    title: str | None = None,
    subtitle: str | None = None,
    units: str = "",
    scale: Scale = "linear",
    scheme: Scheme = "rgb",
    projection: Projection = "equal-area",
    basis: str | Path | None = None,
    align: Drawable | None = None,
    geotiff: bool = True,
    layer: str | Path | None = None,
    width: int = 1600,
    layouts: Sequence[Layout] = ("wide",),
    note: str = "",
) -> list[Drawn]:
    """Draw one map for each table or grid.

    Args:
        tables: tables and grids, or paths of them (a grid's ends in .tif). For "pca" they share one basis, so that
            equal colours mean equal vectors; they must be of one Space.
        out: the PNG; with several tables one for each, or one to which the name of each is added.
        by: "pca", "similarity" (to the places `like` and `at`), or the name of a column (of a grid: a component).
        like: the id, or ids, whose likeness is shown; a pixel of a grid is ROW,COLUMN. A table or grid that has no
            place of that name shows the likeness to that of the first which has one. Several make one query.
        unlike: ids of places that the query is to be unlike.
        at: (longitude, latitude) of a place whose likeness is shown: the nearest row or pixel of each.
        filter: the region: which rows of tables are drawn; the examples need not be among them.
        coverage: of "similarity", the share of the region's area, 0 < share <= 1, that is shown in colour: the
            best-matching part, see `tasks.coverage`. The GeoTIFF gets a second band `covered`, 0 or 1.
        area: a study area whose boundary is drawn; of "similarity" it is the region too.
        title: by default the table's name and what is shown.
        subtitle: by default what made the table.
        units: units of the column; by default those that its name ends in, as in `bank_m`.
        scale: of the values: "linear", or "log" for skewed ones.
        scheme: "rgb" (PC1 to 3 as red, green, blue) or "opponent" (readable with any colour vision).
        projection: of the figure, see `frame_around`.
        basis: a JSON file of a colour basis to use, so that maps made at different times compare; written if absent.
            If it is of another Space, the new scores are turned towards it by the places that both know.
        align: a table or grid of an older map, towards whose colours the new ones are turned.
        geotiff: write the map as GeoTIFF too: a table on a lon/lat grid, a grid on its own pixels.
        layer: of the similarity map of one table, a file for the scores of its rows with their attributes, as
            `export_places` writes it: .geojson, .parquet, .pmtiles, .gpkg ...; cells as their outlines.
        width: pixels of the longer side.
        layouts: "wide" for pages, "narrow" for telephones (its name gets ``-narrow``).
        note: a line below the map, such as the source and its licence.

    Raises:
        SpaceMismatch: the tables are of several Spaces and share a basis, or a query.
        UsageError: the column or the query does not exist, too few places are shared with the older map, or a region
            or a coverage is asked of a grid.
    """
    similar = by == "similarity"
    likes, unlikes = _names(like), _names(unlike)
    if not similar and (likes or unlikes or at is not None or coverage is not None):
        raise UsageError(f"--like, --unlike, --at and --coverage are of --by similarity, not of --by {by}")
    if coverage is not None:
        check_share(coverage)
    if layer is not None and not (similar and len(tables) == 1):
        raise UsageError("--layer holds the scores of one table: draw one, with --by similarity")
    subjects = [_within(_subject(table), filter, area if similar else None, coverage) for table in tables]
    goals = _goals([subject.name for subject in subjects], out)
    if by != "pca" and align is not None:
        raise UsageError(f"--align turns the colours of --by pca, not of --by {by}")
    shared = shared_basis(subjects, basis, None if align is None else _subject(align)) if by == "pca" else None
    wanted: Sequence[Query | None] = queries(subjects, likes, at, unlikes) if similar else [None] * len(subjects)
    boundary = None if area is None else StudyArea.open(area).boundary
    view = View(by, shared, scheme, units, scale, projection, width, coverage)
    drawn = []
    for subject, goal, query in zip(subjects, goals, wanted, strict=True):
        tiff = _tiff(goal, subjects) if geotiff else None
        picture = subject.draw(view, query, tiff)
        for layout in layouts:
            from placevec.atlas.figures import map_figure

            map_figure(
                goal if layout == "wide" else goal.with_name(f"{goal.stem}-narrow.png"),
                picture.raster,
                picture.frame,
                title=title or f"{subject.name[:1].upper()}{subject.name[1:]}: {picture.what}",
                subtitle=subtitle if subtitle is not None else subject.subtitle(picture.shown),
                legend=picture.legend,
                boundary=boundary,
                marks=None if query is None else query.where,
                crosses=None if query is None else query.unlike,
                note=note,
                layout=layout,
            )
        asked = () if query is None else tuple(words for words in (query.words, query.unlike_words) if words)
        said = (*asked, *picture.said)
        if layer is not None:
            said = (*said, _write_layer(subject, picture, layer))
        if shared is not None and (one := shared.agreement) is not None:
            said += (f"colours agree {one.share:.0%} with {one.name} at {one.places:,} places of both",)
        drawn.append(Drawn(goal, tiff, picture.shown, picture.unlocated, picture.hidden, subject.noun, said))
    return drawn


def _names(ids: str | Sequence[str] | None) -> list[str]:
    return [] if ids is None else [ids] if isinstance(ids, str) else [str(one) for one in ids]


def _within(subject: Subject, filter: Filter | None, area: str | Path | None, coverage: float | None) -> Subject:
    """The subject, or the part of it that lies in the region."""
    if isinstance(subject, TableSubject):
        if filter is None and area is None:
            return subject
        return TableSubject(subject.name, subject.table, region_rows(subject.table, filter, area)[0])
    if filter is not None or coverage is not None:
        raise UsageError(
            f"{subject.name} is a grid: regions and coverage are for tables; `embed --on grid --table` makes one"
        )
    return subject


def _write_layer(subject: Subject, picture: Picture, out: str | Path) -> str:
    """Write the scores of a picture with the places they are of; words for it."""
    if not isinstance(subject, TableSubject) or picture.scored is None:
        raise UsageError(f"{subject.name} is a grid: its scores are in the GeoTIFF beside the map")
    scored, table = picture.scored, subject.table
    places = table.places(None, scored.rows) if isinstance(table, StoredTable) else table.places().take(scored.rows)
    places = with_free_column(places, "score", scored.scores.astype(np.float32))
    if scored.covered is not None:
        places = with_free_column(places, "covered", scored.covered)
    form = form_of(out)
    outlines = places.has("h3") and places.data["h3"].null_count == 0 and form not in DRAWN_FORMS
    summary = export_places(places, out, geometry="cell" if outlines else "stored")
    return f"layer: {summary['path']}, {summary['rows']:,} rows"


def _subject(given: Drawable) -> Subject:
    if isinstance(given, EmbeddingGrid):
        return GridSubject(Path(str(given.path)).stem, given)
    if isinstance(given, EmbeddingTable):
        return TableSubject(given.meta.tower or "table", given)
    if isinstance(given, StoredTable):
        return TableSubject(Path(str(given.path)).stem, given)
    if Path(given).suffix.lower() in (".tif", ".tiff"):
        return GridSubject(Path(given).stem, EmbeddingGrid(given))
    return TableSubject(Path(given).stem, open_table(given))


def _tiff(goal: Path, subjects: Sequence[Subject]) -> Path:
    """The GeoTIFF beside the figure, under a name that is none of the grids drawn."""
    tiff = goal.with_suffix(".tif")
    sources = {path.resolve() for subject in subjects if (path := subject.source()) is not None}
    return goal.with_name(f"{goal.stem}-map.tif") if tiff.resolve() in sources else tiff


def _goals(names: Sequence[str], given: str | Path | Sequence[str | Path]) -> list[Path]:
    listed = [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]
    for one in listed:
        if one.suffix.lower() != ".png":
            raise UsageError(f"{one}: a map's name ends in .png (the GeoTIFF is written beside it)")
    if len(listed) == len(names):
        return listed
    if len(listed) != 1:
        raise UsageError(f"{len(listed)} maps for {len(names)} tables: give one name for all, or one for each")
    out = listed[0]
    if len(set(names)) < len(names):
        raise UsageError("two of the tables have the same name: rename one, their maps would overwrite each other")
    return [out.with_name(f"{out.stem}-{name}.png") for name in names]
