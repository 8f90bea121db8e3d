"""What the verbs answer with: ranked places, location hypotheses, scores. Plain data that becomes JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, SchemaError
from placevec.geo.sphere import LonLat
from placevec.table.places import Places

# Of no use in an answer: the vectors themselves, and what `geometry` says already.
_NOT_SHOWN = ("id", "geometry", "bbox", "embedding")
# Digits after the point in a guess's records: a centimetre of degrees, a metre of kilometres.
_DEGREES, _KM, _SHARE = 7, 3, 6


@dataclass(frozen=True)
class Plan:
    """How a search was done.

    Attributes:
        name: what ran: "scan" (every row scored), "filter-then-exact" (the rows that pass, scored),
            "ann-then-exact" (an approximate index, its finds scored exactly), "score-fusion" and "rank-fusion"
            (several tables).
        exact: whether no better row can have been missed.
        candidates: rows that were allowed to be found.
        total: rows of the table.
        unlocated: rows that a geographic condition left out because they have no geometry.
        grown: how often an approximate index was asked again, for more, because too few of its finds were allowed.
        seconds: time that it took; of a search for many, all of them together.
        note: what a reader must know besides: fewer hits than asked for, what stood for the query.
    """

    name: str
    exact: bool
    candidates: int
    total: int
    unlocated: int = 0
    seconds: float = 0.0
    note: str = ""
    grown: int = 0

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {name: jsonable(value) for name, value in vars(self).items()}

    def __str__(self) -> str:
        parts = [
            f"{self.name}, {'exact' if self.exact else 'approximate'}",
            f"{self.candidates:,} of {self.total:,} rows",
        ]
        if self.unlocated:
            parts.append(f"{self.unlocated:,} rows without a geometry left out")
        if self.grown:
            parts.append(f"asked {self.grown} times again for more")
        return "; ".join([*parts, *([self.note] if self.note else [])])


@dataclass(frozen=True, eq=False)
class Hits:
    """Ranked places, the best first.

    Attributes:
        rows: (n,) their row numbers in the table.
        scores: (n,) float32, larger is better; what they mean depends on the Space's metric, or on the fusion.
        places: (n) the places, in the same order.
        plan: how they were found.
        origin: (n,) which table a hit is from, if several were searched; else empty.
        relevance: (n,) float32, the calibrated probability that a hit fits the query, NaN where there is none; None
            for hits that were not judged, see `placevec.measure.relevance`.
        least: the relevance from which a hit is a match; None where no such bound is known for the query.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    places: Places
    plan: Plan
    origin: tuple[str, ...] = ()
    relevance: NDArray[np.float32] | None = None
    least: float | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.rows), len(self.scores), len(self.places), len(self.origin) or len(self.rows)}
        if self.relevance is not None:
            lengths.add(len(self.relevance))
        if len(lengths) != 1:
            raise SchemaError(f"rows, scores, places, origin and relevance of hits differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Hits({len(self)}; {self.plan})"

    @property
    def ids(self) -> NDArray[Any]:
        """The ids (n,)."""
        return self.places.ids

    @property
    def lon(self) -> NDArray[np.float64]:
        """Longitudes (n,) in degrees, NaN without geometry."""
        return self.places.lon

    @property
    def lat(self) -> NDArray[np.float64]:
        """Latitudes (n,) in degrees, NaN without geometry."""
        return self.places.lat

    def to_records(self) -> list[dict[str, Any]]:
        """One JSON object per hit: rank (from 1), id, score, lon, lat (null without geometry) and its attributes.

        Hits that were judged have their relevance and, where it is known from which relevance on, whether they match.
        """
        records = []
        for rank, attributes in enumerate(_attributes(self.places)):
            record = {
                "rank": rank + 1,
                "id": str(self.ids[rank]),
                "score": jsonable(self.scores[rank]),
                **self._judgement(rank),
                "lon": jsonable(self.lon[rank]),
                "lat": jsonable(self.lat[rank]),
                **({"table": self.origin[rank]} if self.origin else {}),
            }
            # An attribute that is called "score" must not pass for the score.
            record.update({f"{name}_" if name in record else name: value for name, value in attributes.items()})
            records.append(record)
        return records

    def _judgement(self, rank: int) -> dict[str, Any]:
        if self.relevance is None:
            return {}
        value = jsonable(self.relevance[rank])
        if self.least is None:
            return {"relevance": value}
        return {"relevance": value, "match": None if value is None else value >= self.least}

    def to_geojson(self) -> dict[str, Any]:
        """A FeatureCollection (RFC 7946) with the hits in order, and the plan as its member "plan"."""
        features = []
        for record, geometry in zip(self.to_records(), self.places.geometries(), strict=True):
            properties = {name: value for name, value in record.items() if name not in ("id", "lon", "lat")}
            features.append(
                {
                    "type": "Feature",
                    "id": record["id"],
                    "geometry": None if geometry is None else json.loads(shapely.to_geojson(geometry)),
                    "properties": properties,
                }
            )
        return {"type": "FeatureCollection", "features": features, "plan": self.plan.to_record()}


@dataclass(frozen=True)
class Region:
    """A part of the Earth that holds the place sought with a given probability.

    Attributes:
        level: that probability, in (0, 1], such as 0.8.
        polygon: the region in lon, lat degrees, cut at the antimeridian.
        area_m2: its area in square metres.
    """

    level: float
    polygon: BaseGeometry
    area_m2: float

    def to_geometry(self) -> dict[str, Any]:
        """The polygon as a GeoJSON geometry, to a centimetre."""
        # Point by point: what looks alike after rounding stays, so that no piece vanishes.
        rounded = shapely.set_precision(self.polygon, 10.0**-_DEGREES, mode="pointwise")
        found: dict[str, Any] = json.loads(shapely.to_geojson(rounded))
        return found


@dataclass(frozen=True)
class Evidence:
    """A known image that supports a guess, or contradicts it: similar, and taken at a known place.

    Attributes:
        id: of the image.
        lonlat: where it was taken, a LonLat of length 1.
        similarity: cosine of its vector with that of what was located, in [-1, 1].
        distance_m: from the guess's point, in metres: far ones speak against the guess.
        asset: address of its pixels, where known.
    """

    id: str
    lonlat: LonLat
    similarity: float
    distance_m: float
    asset: str = ""

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "id": self.id,
            "lon": _rounded(self.lonlat.lon[0], _DEGREES),
            "lat": _rounded(self.lonlat.lat[0], _DEGREES),
            "similarity": _rounded(self.similarity, _SHARE),
            "distance_km": _rounded(self.distance_m / 1e3, _KM),
            **({"asset": self.asset} if self.asset else {}),
        }


@dataclass(frozen=True, eq=False)
class Guess:
    """Where something is thought to be: weighted hypotheses, a point, and credible regions.

    Attributes:
        lonlat: m > 0 hypotheses, the heaviest first.
        weights: (m,) their probabilities; they add up to at most 1, the rest belongs to "somewhere else".
        point: the one answer, a LonLat of length 1. It need not be a hypothesis, and how it is chosen (the mean of
            the heaviest mode, for example) is the decoder's affair.
        confidence: the probability that the decoder gives to its answer: that the truth lies within `confidence_m` of
            the point, where that is a number; NaN if it gives none.
        regions: credible regions, from the smallest level to the largest.
        labels: (m,) names of the hypotheses (a cell, a province); or empty.
        id: of what was to be located.
        confidence_m: the distance in metres that `confidence` is about; NaN if it is about no distance.
        region_name: the most probable named region (a province), "" if there are none. `region` is about credible ones.
        region_probability: its probability, NaN if there are none.
        radius_m: radius in metres about the point that holds the truth with the probability `radius_level`.
        radius_level: see `radius_m`; NaN if there is no such radius.
        evidence: known images like what was located, the most similar first.
    """

    lonlat: LonLat
    weights: NDArray[np.float64]
    point: LonLat
    confidence: float = math.nan
    regions: tuple[Region, ...] = ()
    labels: tuple[str, ...] = ()
    id: str = ""
    confidence_m: float = math.nan
    region_name: str = ""
    region_probability: float = math.nan
    radius_m: float = math.nan
    radius_level: float = math.nan
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float64)
        if len(self.lonlat) == 0 or weights.shape != (len(self.lonlat),) or len(self.point) != 1:
            raise DataError(f"a guess has one point and as many weights as hypotheses, not {weights.shape}")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() <= 1.0 + 1e-6):
            raise DataError(f"the weights of a guess are probabilities; these add up to {weights.sum():.6g}")
        if self.labels and len(self.labels) != len(weights):
            raise DataError(f"{len(self.labels)} labels for {len(weights)} hypotheses")
        levels = [region.level for region in self.regions]
        if levels != sorted(levels):
            raise DataError(f"the regions of a guess go from the smallest level to the largest, not {levels}")
        object.__setattr__(self, "weights", weights)

    @classmethod
    def of(cls, lonlat: LonLat, weights: ArrayLike, *, point: LonLat | None = None, **more: Any) -> Guess:
        """A guess from hypotheses in any order; `point` is the heaviest hypothesis if it is not given.

        Args:
            lonlat: m hypotheses.
            weights: (m,) their probabilities.
            point: the one answer, of length 1.
            more: the further fields; `labels` in the order of `lonlat`.
        """
        given = np.asarray(weights, dtype=np.float64)
        if given.shape != (len(lonlat),) or len(lonlat) == 0:
            raise DataError(f"{given.shape} weights for {len(lonlat)} hypotheses; give one for each, and at least one")
        order = np.argsort(-given, kind="stable")
        labels = more.pop("labels", ())
        return cls(
            lonlat[order],
            given[order],
            lonlat[order[:1]] if point is None else point,
            labels=tuple(labels[row] for row in order) if labels else (),
            **more,
        )

    def region(self, level: float) -> Region:
        """The credible region of the `level` given. Raises DataError, naming those that exist, if there is none."""
        for region in self.regions:
            if math.isclose(region.level, level):
                return region
        known = ", ".join(f"{region.level:g}" for region in self.regions) or "none"
        raise DataError(f"this guess has no region of level {level:g}; there are: {known}")

    def to_records(self) -> list[dict[str, Any]]:
        """One JSON object per hypothesis: rank (from 1), lon, lat, weight."""
        head = {"id": self.id} if self.id else {}
        return [
            {
                **head,
                "rank": rank + 1,
                "lon": _rounded(self.lonlat.lon[rank], _DEGREES),
                "lat": _rounded(self.lonlat.lat[rank], _DEGREES),
                "weight": _rounded(weight, _SHARE),
                **({"label": self.labels[rank]} if self.labels else {}),
            }
            for rank, weight in enumerate(self.weights)
        ]

    def to_record(self) -> dict[str, Any]:
        """The guess as one JSON object: the point, its confidence, hypotheses and regions (polygons as GeoJSON)."""
        return {
            "id": self.id,
            **self.to_summary(),
            "hypotheses": [{k: v for k, v in record.items() if k != "id"} for record in self.to_records()],
            "regions": [
                {
                    "level": region.level,
                    "area_km2": _rounded(region.area_m2 / 1e6, _KM),
                    "polygon": region.to_geometry(),
                }
                for region in self.regions
            ],
            **({"evidence": [one.to_record() for one in self.evidence]} if self.evidence else {}),
        }

    def to_summary(self) -> dict[str, Any]:
        """What of the guess fits a line: the point, the named region, confidence and radius, in km."""
        lon, lat = (_rounded(value[0], _DEGREES) for value in (self.point.lon, self.point.lat))
        found: dict[str, Any] = {"lon": lon, "lat": lat}
        if self.region_name:
            found |= {"region": self.region_name, "region_probability": _rounded(self.region_probability, _SHARE)}
        found["confidence"] = _rounded(self.confidence, _SHARE)
        if math.isfinite(self.confidence_m):
            found["confidence_km"] = self.confidence_m / 1e3
        if math.isfinite(self.radius_m):
            found |= {"radius_km": _rounded(self.radius_m / 1e3, _KM), "radius_level": jsonable(self.radius_level)}
        return found


@dataclass(frozen=True)
class Score:
    """One metric with its interval.

    Attributes:
        target: what was predicted, or the task.
        features: what it was predicted from: the vectors, or the name of a baseline.
        split: how test rows were kept apart: "random" or "block".
        metric: its name with its unit, such as "R²" or "MAE, m".
        mean: the value.
        low: lower end of its interval.
        high: upper end.
        sd: standard deviation over repetitions; NaN with one only.
        n: number of test rows.
        learned: whether `features` are learned; if not, they are a baseline.
    """

    target: str
    features: str
    split: str
    metric: str
    mean: float
    low: float = math.nan
    high: float = math.nan
    sd: float = math.nan
    n: int = 0
    learned: bool = False

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {name: jsonable(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Scores:
    """The scores of one evaluation.

    Attributes:
        rows: the scores, in the order in which they are shown.
        about: what they are about: fingerprints, the split's spec, settings.
    """

    rows: tuple[Score, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Score]:
        return iter(self.rows)

    def where(self, **wanted: Any) -> Self:
        """The scores whose fields have the values given, such as ``split="block", metric="R²"``."""
        rows = tuple(row for row in self.rows if all(getattr(row, name) == value for name, value in wanted.items()))
        return type(self)(rows, self.about)

    def to_records(self) -> list[dict[str, Any]]:
        """One JSON object per score."""
        return [row.to_record() for row in self.rows]


def jsonable(value: Any) -> Any:
    """`value` in the types of JSON: numpy scalars and arrays unpacked, times in ISO 8601, NaN and infinity as null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | Sequence | set | frozenset):
        return [jsonable(item) for item in value]
    return str(value)


def _rounded(value: float, digits: int) -> float | None:
    """A number as a record shows it; None where it is not finite."""
    number = float(value)
    return round(number, digits) if math.isfinite(number) else None


def _attributes(places: Places) -> list[dict[str, Any]]:
    """The columns of each place besides id and geometry; an H3 cell by its usual name, absent values left out."""
    data = places.data.select([name for name in places.data.schema.names if name not in _NOT_SHOWN])
    if not data.num_columns:
        return [{} for _ in range(len(places))]
    records = []
    for row in data.to_pylist():
        if row.get("h3") is not None:
            row["h3"] = f"{row['h3']:x}"
        reserved = {name: value for name, value in row.items() if value is not None or name in places.attributes}
        records.append({name: jsonable(value) for name, value in reserved.items()})
    return records
