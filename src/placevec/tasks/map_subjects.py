"""What `map` draws: a table or a grid, each with the same few things to ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.atlas.colour import Anchors, ColourBasis, Scheme
from placevec.atlas.frames import Frame, Projection
from placevec.atlas.legends import Legend, Scale, pca_legend, ramp_colours, skewed
from placevec.errors import SchemaError, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.grid import EmbeddingGrid
from placevec.provenance import Space, TableMeta
from placevec.table import EmbeddingTable, StoredTable
from placevec.tasks.map_similarity import likeness
from placevec.tasks.search_examples import rocchio

Table = StoredTable | EmbeddingTable
Drawable = str | Path | Table | EmbeddingGrid

ANCHORS = 1000  # places that a basis remembers, so that later ones can be turned towards it
KNOWN = {"support": "support by the bank", "bank_m": "distance to the bank"}
UNITS = {"_km2": "km²", "_m2": "m²", "_km": "km", "_m": "m", "_percent": "%", "_deg": "°"}


@dataclass(frozen=True)
class Query:
    """The place whose likeness is shown, or what several examples make together.

    Attributes:
        vector: (d,) of it.
        space: of the vector.
        where: the place, or those of all positive examples; None if there are no coordinates.
        name: for the title, such as its id or its coordinates.
        words: what it is, for the legend and for messages.
        unlike: the places of negative examples; None if there are none.
        unlike_words: what they are, for the legend.
    """

    vector: NDArray[np.float32]
    space: Space
    where: LonLat | None
    name: str
    words: str
    unlike: LonLat | None = None
    unlike_words: str = ""


@dataclass(frozen=True)
class View:
    """What is to be shown of every subject.

    Attributes:
        by: "pca", "similarity", or the name of a column (of a grid: of a component).
        basis: the colours of "pca".
        scheme: of the colours of "pca".
        units: of the values.
        scale: of the values.
        projection: of the figure.
        width: pixels of its longer side.
        coverage: of "similarity", the share of the area that is shown in colour, 0 < share <= 1; None shows all.
    """

    by: str
    basis: ColourBasis | None
    scheme: Scheme
    units: str
    scale: Scale
    projection: Projection
    width: int
    coverage: float | None = None


@dataclass(frozen=True, eq=False)
class Scored:
    """What a map of similarity shows, row by row.

    Attributes:
        rows: (n,) row numbers in the table.
        scores: (n,) larger is more like.
        covered: (n,) whether the row is of the best-matching share; None where no share was asked for.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    covered: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Picture:
    """A subject as a figure takes it.

    Attributes:
        raster: RGBA (height, width, 4) uint8.
        frame: its pixels.
        legend: what the colours mean.
        what: words for what is shown.
        shown: places (of a grid: pixels) that the map stands for.
        unlocated: rows without a geometry.
        hidden: rows smaller than a pixel.
        said: remarks for the reader of the command's output.
        scored: of a table's similarity map the scores; else None.
    """

    raster: NDArray[np.uint8]
    frame: Frame
    legend: Legend
    what: str
    shown: int
    unlocated: int = 0
    hidden: int = 0
    said: tuple[str, ...] = ()
    scored: Scored | None = None


class Subject(ABC):
    """A table or a grid that is to be drawn.

    Attributes:
        name: for the title and the file.
        meta: Space and provenance.
    """

    noun: Literal["places", "pixels"]

    def __init__(self, name: str, meta: TableMeta) -> None:
        self.name, self.meta = name, meta

    @property
    def space(self) -> Space:
        """The Space of the vectors."""
        return self.meta.space

    @abstractmethod
    def draw(self, view: View, query: Query | None, tiff: Path | None) -> Picture:
        """Draw it, and write the colours or values to `tiff` unless that is None."""

    @abstractmethod
    def sample(self) -> Iterable[NDArray[np.float32]]:
        """Vectors in parts, to fit colours on."""

    @abstractmethod
    def anchors(self, basis: ColourBasis) -> Anchors:
        """Some of its places with their scores on `basis`, evenly spread, the same each time."""

    @abstractmethod
    def shared(self, anchors: Anchors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Which of the anchors it knows, and its vectors there, in the same order."""

    @abstractmethod
    def named(self, name: str) -> Query | None:
        """Its place of that name, or None."""

    @abstractmethod
    def at(self, lon: float, lat: float) -> Query:
        """Its place nearest to a point given in degrees."""

    @abstractmethod
    def subtitle(self, shown: int) -> str:
        """How many places, and what made the vectors."""

    def source(self) -> Path | None:
        """The file that it was read from, or None."""
        return None

    def colours(
        self, view: View, query: Query | None, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[Any], Legend | None]:
        """Colours (n, 3) with their legend for "pca", or likenesses (n,) float32 to the query."""
        if view.by == "pca":
            assert view.basis is not None
            return (
                view.basis.apply(vectors, space=self.space.id, scheme=view.scheme),
                pca_legend(view.basis, view.scheme),
            )
        assert query is not None
        self.space.require(query.space, f"likeness to {query.name} on the map of {self.name}")
        return likeness(query.vector, vectors, self.space), None


def value_colours(
    values: NDArray[np.float64], *, title: str, units: str, scale: Scale, mark: str = "", cross: str = ""
) -> tuple[NDArray[np.uint8], Legend, tuple[str, ...]]:
    """Colours of values (n,) on a ramp, their legend, and a remark if the scale hides most of them.

    `mark` and `cross` say what the ring and the cross on the map are.
    """
    if units == "m" and np.nanpercentile(np.abs(values), 98) >= 10_000:
        values, units = values / 1000.0, "km"
    colours, legend = ramp_colours(values, title=title, units=units, mark=mark, cross=cross, scale=scale)
    if scale == "linear" and not mark and skewed(values):
        return colours, legend, ("most values lie at the low end of the scale; --scale log sets them apart",)
    return colours, legend, ()


def heading_of(column: str) -> str:
    """What a column is called in a legend."""
    words = words_of(column)
    return words[:1].upper() + words[1:]


def words_of(column: str) -> str:
    """What a column is called in a sentence."""
    return KNOWN.get(column, column.replace("_", " "))


def units_of(column: str, given: str) -> str:
    """The units of a column: those given, or those that its name ends in (`bank_m`)."""
    return given or next((unit for end, unit in UNITS.items() if column.endswith(end)), "")


def nearby(point: tuple[float, float], where: LonLat, metres: float, extent_m: float, of: str) -> str:
    """Words for the distance of the nearest place; UsageError if it lies farther than the whole map is across."""
    lon, lat = point
    if metres > max(extent_m, 1000.0):
        raise UsageError(
            f"--at {lon:g},{lat:g} lies {distance(metres)} from the nearest place of {of}, at {where.lon[0]:.2f},"
            f"{where.lat[0]:.2f}: give a point of the map, longitude first"
        )
    return f"{distance(metres)} from {lon:g},{lat:g}"


def distance(metres: float) -> str:
    """A distance for people."""
    if metres < 1000:
        return f"{metres:.0f} m"
    return f"{metres / 1000:.1f} km" if metres < 10_000 else f"{metres / 1000:,.0f} km"


def across(points: LonLat) -> float:
    """The diagonal of what the points span, metres, about: twice the largest distance from the first to any."""
    first = LonLat(np.full(len(points), points.lon[0]), np.full(len(points), points.lat[0]))
    return 2.0 * float(distance_m(first, points).max())


def queries(
    subjects: Sequence[Subject], like: Sequence[str], at: tuple[float, float] | None, unlike: Sequence[str] = ()
) -> list[Query]:
    """The query of each subject: its own places of those names, else those of the first subject which has them.

    Several examples make one query as in a search: 2·mean(like) − mean(unlike), see `search_examples.rocchio`.

    Raises:
        UsageError: there is nothing to be like, no subject has such a place, or examples cancel each other.
        SchemaError: a place has no vector.
        SpaceMismatch: examples are of several Spaces.
    """
    if not like and at is None:
        raise UsageError("the likeness to what? give --like ID or --at LON,LAT")
    found = {name: _named(subjects, name) for name in dict.fromkeys((*like, *unlike))}
    made = []
    for number, subject in enumerate(subjects):
        positive = [one for name in like for one in found[name][number]]
        positive += [] if at is None else [subject.at(*at)]
        negative = [one for name in unlike for one in found[name][number]]
        made.append(positive[0] if len(positive) == 1 and not negative else _mixed(subject, positive, negative))
    return made


def _named(subjects: Sequence[Subject], name: str) -> list[list[Query]]:
    """For each subject the places of a name; a name that none has may be several, parted by commas."""
    own = [subject.named(name) for subject in subjects]
    first = next((query for query in own if query is not None), None)
    if first is None and "," in name and len(parts := [one.strip() for one in name.split(",") if one.strip()]) > 1:
        try:
            each = [_named(subjects, part) for part in parts]
        except UsageError:
            each = []
        if each:
            return [[one for part in each for one in part[number]] for number in range(len(subjects))]
    if first is None:
        every = ", ".join(subject.name for subject in subjects)
        raise UsageError(
            f"there is no row {name!r} in {every}; a pixel of a grid is ROW,COLUMN and holds a value; or use --at"
        )
    if not np.isfinite(first.vector).all():
        raise SchemaError(f"the vector of {name!r} is not finite; choose another place")
    return [[query or first] for query in own]


def _mixed(subject: Subject, positive: Sequence[Query], negative: Sequence[Query]) -> Query:
    """Several examples as one query."""
    for one in (*positive, *negative):
        subject.space.require(one.space, f"likeness to {one.name} on the map of {subject.name}")
    vector = rocchio([one.vector for one in positive], [one.vector for one in negative], subject.space)
    liked, disliked = _people(positive), _people(negative)
    return Query(
        vector,
        subject.space,
        _points(positive),
        f"{liked}, unlike {disliked}" if negative else liked,
        positive[0].words if len(positive) == 1 else f"like: {liked}",
        _points(negative),
        f"unlike: {disliked}" if negative else "",
    )


def _people(examples: Sequence[Query]) -> str:
    """Examples for people: their names where those are short, or how many."""
    names = " and ".join(one.name for one in examples)
    if len(examples) == 1 or (len(examples) == 2 and len(names) <= 28):
        return names
    return f"{len(examples)} places"


def _points(examples: Sequence[Query]) -> LonLat | None:
    known = [one.where for one in examples if one.where is not None]
    if not known:
        return None
    return LonLat(np.concatenate([one.lon for one in known]), np.concatenate([one.lat for one in known]))
