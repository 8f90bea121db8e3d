"""TopoJSON: polygons whose borders are arcs, kept once and shared (topojson/topojson-specification, version 1.0)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPoint, Polygon

from placevec.errors import FormatError

Floats = NDArray[np.float64]


def is_topology(data: Any) -> bool:
    """Whether a JSON value says of itself that it is a topology."""
    return isinstance(data, dict) and data.get("type") == "Topology"


def topology_polygons(data: dict[str, Any], where: str = "the topology") -> list[Polygon]:
    """All polygons of all objects of a topology, in longitude and latitude.

    Edges that jump by more than 180 degrees go the short way, as arcs on the sphere do, so that longitudes may end
    beyond 180 degrees; `placevec.geo.boxes.unwrap_polygon` brings them back. An island that quantisation has flattened
    to a line or a point becomes a speck of half a step around it. Lines and points are left out.

    Args:
        data: what the JSON file holds.
        where: the file's name, for errors.

    Raises:
        FormatError: it breaks the specification.
    """
    try:
        arcs = _arcs(data)
        rings = [
            [_ring(arcs, ids) for ids in polygon]
            for geometry in data["objects"].values()
            for polygon in _polygons(geometry)
            if polygon
        ]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FormatError(
            f"{where} is no whole TopoJSON file ({type(error).__name__}: {error}); fetch it again"
        ) from None
    return [_polygon(ring, holes, _step(data)) for ring, *holes in rings]


def _polygon(outer: Floats, holes: list[Floats], step: float) -> Polygon:
    if len(outer) > 3:
        polygon = Polygon(outer, [hole for hole in holes if len(hole) > 3])
        if polygon.area > 0.0:
            return polygon
    return MultiPoint(outer).convex_hull.buffer(step / 2.0, quad_segs=2)


def _step(data: dict[str, Any]) -> float:
    """The longer side, in degrees, of what quantisation sees as one place; a millionth where there is none."""
    given = data.get("transform")
    return 1e-6 if given is None else max(abs(float(value)) for value in given["scale"])


def _arcs(data: dict[str, Any]) -> list[Floats]:
    arcs = [np.asarray(arc, dtype=np.float64)[:, :2] for arc in data["arcs"]]
    given = data.get("transform")
    if given is None:
        return arcs
    # Quantised arcs hold differences of whole numbers.
    scale, origin = np.asarray(given["scale"], dtype=np.float64), np.asarray(given["translate"], dtype=np.float64)
    return [np.cumsum(arc, axis=0) * scale + origin for arc in arcs]


def _polygons(geometry: dict[str, Any]) -> Iterator[Sequence[Sequence[int]]]:
    """The polygons of a geometry, each a list of rings, each a list of arcs."""
    kind = geometry["type"]
    if kind == "Polygon":
        yield geometry["arcs"]
    elif kind == "MultiPolygon":
        yield from geometry["arcs"]
    elif kind == "GeometryCollection":
        for member in geometry["geometries"]:
            yield from _polygons(member)


def _ring(arcs: list[Floats], ids: Sequence[int]) -> Floats:
    """The closed ring (n, 2) of arcs; -1 is arc 0 backwards, -2 arc 1, and so on."""
    parts: list[Floats] = []
    for number in ids:
        arc = arcs[number] if number >= 0 else arcs[~number][::-1]
        parts.append(arc[1:] if parts else arc)  # an arc begins where the one before it ends
    ring = np.concatenate(parts)
    if len(ring) > 3 and not np.array_equal(ring[0], ring[-1]):
        raise ValueError(f"the ring of the arcs {list(ids)[:5]} is not closed")
    return _short_way(ring)


def _short_way(ring: Floats) -> Floats:
    """The ring with edges of at most 180 degrees, closed over the pole where it goes around one."""
    step = np.diff(ring[:, 0])
    # Along a pole an edge of a whole turn is no jump: it closes the outline of Antarctica on flat maps.
    at_pole = (np.abs(ring[:-1, 1]) == 90.0) & (np.abs(ring[1:, 1]) == 90.0)
    if not ((np.abs(step) > 180.0) & ~at_pole).any():
        return ring
    step = np.where(at_pole, step, step - 360.0 * np.round(step / 360.0))
    x = ring[0, 0] + np.concatenate([[0.0], np.cumsum(step)])
    y = ring[:, 1]
    if abs(x[-1] - x[0]) > 180.0:
        pole = 90.0 if y.mean() >= 0.0 else -90.0
        return np.stack([np.append(x, [x[-1], x[0], x[0]]), np.append(y, [pole, pole, y[0]])], axis=1)
    x[-1] = x[0]
    turned = np.stack([x, y], axis=1)
    # A belt around the whole Earth loses its area by this: it was drawn flat.
    return turned if shapely.area(shapely.polygons(turned)) > 0.0 else ring
