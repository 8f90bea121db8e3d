"""`explain`: where in a picture is what a text, or a second picture, asks for; as overlay, boxes and heat map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.features.evidence import HeatMap, Region, Selection, heat_map, regions, select
from placevec.files import write_text
from placevec.sources.images import Footprint, Stretch
from placevec.tasks.explain_methods import Method, field_of
from placevec.tasks.explain_picture import Picture, open_picture
from placevec.tasks.explain_query import Query, image_query, text_query

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel

HEAT_SIDE = 32  # cells on the longer side of the heat map in JSON
STEPS = 8  # pieces of a box's edge in GeoJSON: a straight line on the map is a curve in degrees


@dataclass(frozen=True)
class Explanation:
    """The evidence for a query in a picture."""

    picture: Picture
    query: Query
    method: Method
    model: str  # the pair's name, for people
    score: float  # cosine of the picture as one with the query
    relevance: float | None  # probability that the picture fits the text; None without calibration
    heat: HeatMap
    regions: tuple[Region, ...]  # those selected, the best first

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know."""
        weak = [] if self.regions and self.regions[0].score > 0 else ["no part of the picture stands out for the query"]
        threshold = None if self.query.relevance is None else self.query.relevance.no_match
        if self.relevance is not None and threshold is not None and self.relevance < threshold:
            weak.insert(0, f"no good match: relevance {self.relevance:.0%}, below the {threshold:.0%} of good ones")
        return (*self.query.notes, *weak)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: query, method, scores, boxes in pixels, and the heat map as a small grid."""
        _, height, width = self.picture.pixels.shape
        like = self.query.like is not None
        method = {key: value for key, value in asdict(self.method).items() if key in _SETTINGS[self.method.kind]}
        return {
            "query": {("image" if like else "text"): self.query.words},
            "image": self.picture.name,
            "source": self.picture.path,
            "size": [width, height],
            "model": self.model,
            "method": {"kind": self.method.kind, "tile": self.method.tile, **method},
            "score": round(self.score, 4),
            "evidence": round(self.heat.whole, 4),
            "relevance": None if self.relevance is None else round(self.relevance, 4),
            "scale": "deviations above the mean of background queries; 0 is the background",
            "regions": [{"rank": rank, **one.to_json()} for rank, one in enumerate(self.regions, 1)],
            "heat": np.round(small(self.heat.values), 3).tolist(),
            "georeferenced": self.picture.footprint is not None,
            "notes": list(self.notes),
        }

    def to_geojson(self) -> dict[str, Any]:
        """The boxes as a FeatureCollection in longitude and latitude (RFC 7946).

        Each feature has the member ``native``: its ring in the image's own coordinate system, which is named there.

        Raises:
            UsageError: the picture does not say where it lies.
        """
        if self.picture.footprint is None:
            raise UsageError(f"{self.picture.name} is not georeferenced: its boxes have no place on the Earth")
        features = [_feature(self.picture.footprint, rank, one) for rank, one in enumerate(self.regions, 1)]
        about = {key: value for key, value in self.to_json().items() if key in ("query", "image", "score", "relevance")}
        return {"type": "FeatureCollection", "features": features, "explanation": about}

    def draw(self, path: str | Path) -> Path:
        """Write the overlay as PNG."""
        from placevec.atlas.overlay import Mark, overlay_figure

        marks = [Mark(one.x, one.y, one.width, one.height, one.score, one.share) for one in self.regions]
        like = self.query.like
        title = f"like {self.query.words}" if like is not None else f"“{self.query.words}”"
        return overlay_figure(
            path,
            shown(self.picture.pixels),
            self.heat.values,
            marks,
            query=title,
            subtitle=f"{self.picture.name} · evidence by {_METHODS[self.method.kind]}",
            facts=[self.summary(), *self.notes],
            like=None if like is None else shown(like),
            smooth=not self.heat.cells,
        )

    def to_records(self) -> list[dict[str, Any]]:
        """One record a region: rank, box in pixels, calibrated score, share of the image, and its centre in degrees."""
        records = []
        for rank, one in enumerate(self.regions, 1):
            box = {"x": one.x, "y": one.y, "width": one.width, "height": one.height}
            record = {"rank": rank, "score": round(one.score, 3), **box, "share": round(one.share, 4)}
            if self.picture.footprint is not None:
                centre = self.picture.footprint.lonlat(one.x + one.width / 2, one.y + one.height / 2)
                record |= {"lon": round(float(centre.lon[0]), 7), "lat": round(float(centre.lat[0]), 7)}
            records.append(record)
        return records

    def write(self, out: str | Path) -> list[Path]:
        """Write the overlay `out` (.png), the JSON beside it, and for a georeferenced picture the GeoJSON.

        Raises:
            UsageError: `out` does not end in .png.
        """
        goal = checked_out(out)
        written = [self.draw(goal), goal.with_suffix(".json")]
        write_text(written[1], json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False) + "\n")
        if self.picture.footprint is not None:
            written.append(goal.with_suffix(".geojson"))
            write_text(written[2], json.dumps(self.to_geojson(), ensure_ascii=False, allow_nan=False) + "\n")
        return written

    def summary(self) -> str:
        """The image as one, in a line."""
        known = "" if self.relevance is None else f", relevance {self.relevance:.0%}"
        whole = f"{self.heat.whole:+.1f} deviations from the background"
        return f"the whole image: cosine {self.score:.3f}, {whole}{known}".replace("-", "−")


_SETTINGS = {"dense": ("pool", "attention", "debias", "smooth"), "crops": ("crops", "smooth"), "grid": ("cells",)}
_METHODS = {"dense": "dense projection", "crops": "overlapping crops", "grid": "a grid of cells"}


def explain(
    image: str | Path,
    *,
    text: str | None = None,
    like_image: str | Path | None = None,
    id: str | None = None,
    model: str | PairModel | None = None,
    method: Method | None = None,
    selection: Selection | None = None,
    bands: Sequence[int] | None = None,
    stretch: Stretch = "auto",
    out: str | Path | None = None,
) -> Explanation:
    """Where in a picture the evidence for a text, or for a second picture, lies.

    Args:
        image: an image file; with `id`, a table whose `asset` leads to the pixels.
        text: what is looked for; or give `like_image`.
        like_image: an image file that shows what is looked for.
        id: of a row of the table.
        model: a pair of towers, its folder, or ``hf:NAME``. For a table it is found beside it by default.
        method: how evidence is found; by default dense projection of the image as one.
        selection: which regions are given.
        bands: numbers of the image's bands, from 1.
        stretch: how values of more than 8 bits become 8.
        out: a PNG to write; the JSON, and GeoJSON where the image is georeferenced, stand beside it.

    Raises:
        UsageError: not one query, no model, or the method does not go with the model.
        DataError: an image or text that cannot be read.
        SpaceMismatch: the model is of another Space than the table.
    """
    if (text is None) == (like_image is None):
        raise UsageError("give one query: a text, or an image (like_image) that shows what is looked for")
    goal = None if out is None else checked_out(out)
    picture = open_picture(image, id, bands=bands, stretch=stretch)
    pair = _pair(picture, model)
    if text is not None:
        query = text_query(pair, text)
    else:
        assert like_image is not None
        query = image_query(pair, like_image, bands=bands, stretch=stretch)
    chosen = method or Method()
    field = field_of(pair, picture.pixels, chosen)
    heat = heat_map(field, query.vector, query.background, smooth=chosen.smoothing(*field.size))
    found = Explanation(
        picture=picture,
        query=query,
        method=chosen,
        model=pair.card.name or (str(model) if isinstance(model, str) else pair.space.label),
        score=float(field.score(query.vector[None])[0]),
        relevance=_relevance(query, field.whole),
        heat=heat,
        regions=tuple(select(regions(heat), selection)),
    )
    if goal is not None:
        found.write(goal)
    return found


def checked_out(out: str | Path) -> Path:
    """The path of the overlay; UsageError unless it is a .png."""
    path = Path(out)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: the overlay's name ends in .png (JSON and GeoJSON are written beside it)")
    return path


def shown(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (bands, h, w) as (h, w, 3) for people: its first three bands, or its first one as grey."""
    three = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
    return np.ascontiguousarray(three.transpose(1, 2, 0))


def small(values: NDArray[np.float64], side: int = HEAT_SIDE) -> NDArray[np.float64]:
    """A map with at most `side` cells on its longer side, each the mean of the positions in it."""
    rows, columns = values.shape
    scale = max(1.0, max(rows, columns) / side)
    y, x = (np.linspace(0, n, max(1, round(n / scale)) + 1).astype(int) for n in (rows, columns))
    sums = np.add.reduceat(np.add.reduceat(values, y[:-1], axis=0), x[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(y), np.diff(x)))


def _pair(picture: Picture, model: str | PairModel | None) -> PairModel:
    if model is not None and not isinstance(model, str):
        if picture.space is not None:
            picture.space.require(model.space, f"explaining {picture.name}")
        return model
    if picture.space is not None and picture.near is not None:
        from placevec.tasks.towers import find_pair

        return find_pair(picture.space, near=[picture.near], given=model)
    if model is None:
        raise UsageError("an image alone does not name a model: give --model, the folder of a pair or hf:NAME")
    from placevec.encoders.pair import open_pair

    return open_pair(model)


def _relevance(query: Query, whole: NDArray[np.float32]) -> float | None:
    if query.relevance is None:
        return None
    known = np.array([query.known])
    return float(query.relevance.probability(query.vector[None], whole[None], known)[0, 0])


def _feature(where: Footprint, rank: int, one: Region) -> dict[str, Any]:
    import shapely
    from shapely.geometry.polygon import orient

    from placevec.geo.boxes import unwrap_polygon

    left, top, right, bottom = one.x, one.y, one.x + one.width, one.y + one.height
    share = np.arange(STEPS) / STEPS
    # Against the clock on a north-up image: down the left edge, along the lower one, up, and back.
    col = np.concatenate(
        [np.full(STEPS, left), left + share * one.width, np.full(STEPS, right), right - share * one.width]
    )
    row = np.concatenate(
        [top + share * one.height, np.full(STEPS, bottom), bottom - share * one.height, np.full(STEPS, top)]
    )
    col, row = np.append(col, left), np.append(row, top)
    degrees = where.lonlat(col, row)
    ring = np.stack([degrees.lon, degrees.lat], axis=1).round(8)
    area = unwrap_polygon(shapely.Polygon(ring))  # in two parts where it lies across the antimeridian
    parts = [orient(part) for part in getattr(area, "geoms", [area])]  # outer rings against the clock
    corners = where.xy(np.array([left, left, right, right, left]), np.array([top, bottom, bottom, top, top]))
    return {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)),
        "properties": {"rank": rank, **one.to_json()},
        "native": {"crs": _crs_name(where), "coordinates": [np.stack(corners, axis=1).tolist()]},
    }


def _crs_name(where: Footprint) -> str:
    code = where.crs.to_authority()
    return ":".join(code) if code else where.crs.name
