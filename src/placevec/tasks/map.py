"""`map`: a table or a grid on the map, in the colours of its vectors, of a column, or of the likeness to a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from placevec.area import StudyArea
from placevec.atlas.colour import Scheme
from placevec.atlas.frames import Projection
from placevec.atlas.legends import Scale
from placevec.errors import UsageError
from placevec.grid import EmbeddingGrid
from placevec.table import EmbeddingTable, StoredTable, open_table
from placevec.tasks.map_basis import shared_basis
from placevec.tasks.map_grid import GridSubject
from placevec.tasks.map_subjects import Drawable, Query, Subject, View, queries
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
    like: str | None = None,
    at: tuple[float, float] | None = None,
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
    width: int = 1600,
    layouts: Sequence[Layout] = ("wide",),
    note: str = "",
) -> list[Drawn]:
    """Draw one map for each table or grid.

    Args:
        tables: tables and grids, or paths of them (a grid's ends in .tif). For "pca" they share one basis, so that
            equal colours mean equal vectors; they must be of one Space.
        out: the PNG; with several tables one for each, or one to which the name of each is added.
        by: "pca", "similarity" (to the place `like` or `at`), or the name of a column (of a grid: a component).
        like: the id whose likeness is shown; a pixel of a grid is ROW,COLUMN. A table or grid that has no place of
            that name shows the likeness to that of the first which has one.
        at: (longitude, latitude) of the place whose likeness is shown: the nearest row or pixel of each.
        area: a study area whose boundary is drawn.
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
        width: pixels of the longer side.
        layouts: "wide" for pages, "narrow" for telephones (its name gets ``-narrow``).
        note: a line below the map, such as the source and its licence.

    Raises:
        SpaceMismatch: the tables are of several Spaces and share a basis, or a query.
        UsageError: the column or the query does not exist, or too few places are shared with the older map.
    """
    subjects = [_subject(table) for table in tables]
    goals = _goals([subject.name for subject in subjects], out)
    if by != "similarity" and (like is not None or at is not None):
        raise UsageError(f"--like and --at choose the place of --by similarity, not of --by {by}")
    if by != "pca" and align is not None:
        raise UsageError(f"--align turns the colours of --by pca, not of --by {by}")
    shared = shared_basis(subjects, basis, None if align is None else _subject(align)) if by == "pca" else None
    wanted: Sequence[Query | None] = queries(subjects, like, at) if by == "similarity" else [None] * len(subjects)
    boundary = None if area is None else StudyArea.open(area).boundary
    view = View(by, shared, scheme, units, scale, projection, width)
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
                note=note,
                layout=layout,
            )
        said = (*(() if query is None else (query.words,)), *picture.said)
        if shared is not None and (one := shared.agreement) is not None:
            said += (f"colours agree {one.share:.0%} with {one.name} at {one.places:,} places of both",)
        drawn.append(Drawn(goal, tiff, picture.shown, picture.unlocated, picture.hidden, subject.noun, said))
    return drawn


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
