"""What a generated town has below the size of a pixel: places to go to, and the buses that run along its streets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.geo.sphere import distance_m
from placevec.sources.world.ground import Ground
from placevec.sources.world.noise import stream
from placevec.sources.world.osm_ways import Window, inside
from placevec.sources.world.places import CATEGORIES, Pois, Transit
from placevec.sources.world.streets import SECONDARY, TERTIARY, Streets

Floats = NDArray[np.float64]

_NEAR_PEOPLE = ("school", "park", "sports", "pharmacy", "supermarket", "bakery", "clinic", "hospital", "fuel")
"""Kinds of places that lie where people live; the others lie where business is."""

_SHARE_PER_KM2 = 0.45  # places per km² and unit of weight where the intensity is 1
_STOP_EVERY = 3  # nodes of a street between two stops of a bus: 360 m


def town_pois(ground: Ground, town: int, window: Window) -> Pois:
    """Places of a town beside those that the country has: as many as real towns have, some in every quarter.

    Their number is by chance (Poisson). Its mean per km² is 0.45 times the weight of the kind (`CATEGORIES`) times
    u·(1 − 0.7·b) for what is near people and u·(0.1 + 0.9·b) for the rest, with the built-up intensity u and the share
    of business b of the ground.
    """
    rng = stream(ground.seed, f"places of town {town}")
    left, top, right, bottom = window
    km2 = (right - left) * (bottom - top) * (ground.grid.metres / 1000) ** 2
    kinds = [(f"{group}/{kind}", rest[0]) for group, each in CATEGORIES.items() for kind, rest in each.items()]
    weight = np.array([share for _, share in kinds])
    near_people = np.array([name.partition("/")[2] in _NEAR_PEOPLE for name, _ in kinds])
    # Thinning: candidates everywhere, of which a share is kept that follows the field.
    most = 4.0
    count = rng.poisson(_SHARE_PER_KM2 * weight.sum() * km2 * most)
    col, row = rng.uniform(left, right, count), rng.uniform(top, bottom, count)
    kind = rng.choice(len(kinds), count, p=weight / weight.sum())
    urban, business = ground.urban(col, row), ground.business(col, row)
    chance = urban * np.where(near_people[kind], 1.0 - 0.7 * business, 0.1 + 0.9 * business)
    kept = (rng.random(count) * most < chance) & ground.land(col, row)
    names = [f"{ground.towns.name[town]} {kinds[k][0].partition('/')[2]} {n}" for n, k in enumerate(kind[kept], 1001)]
    category = np.array([kinds[k][0] for k in kind[kept]], dtype=object)
    return Pois(col[kept], row[kept], category, np.array(names, dtype=object))


def town_transit(ground: Ground, streets: Streets, country: Transit, window: Window, town: int) -> Transit:
    """The lines of the country that call in a window, and local buses along the wider streets of a town in it.

    A local bus runs the more often the more built-up its street is: every 8 to 60 minutes.
    """
    there = inside(window, country.stop_col, country.stop_row)
    lines = [line for line in country.lines if there[line[2]].any()]
    col, row = country.stop_col.tolist(), country.stop_row.tolist()
    name_of = list(country.stop_name)
    for number, nodes in enumerate(_routes(streets, window), 1):
        x, y = streets.col[nodes], streets.row[nodes]
        where = ground.grid.lonlat(x, y)
        # 18 km/h between stops, and 20 seconds at each.
        ride = np.rint(distance_m(where[:-1], where[1:]) / (18 / 3.6)).astype(int) + 20
        every = int(np.clip(1500 / ground.urban(x, y).mean() ** 1.5, 480, 3600) // 60 * 60)
        stops = list(range(len(col), len(col) + len(nodes)))
        col += x.tolist()
        row += y.tolist()
        name_of += [f"{ground.towns.name[town]} B{number}.{k + 1}" for k in range(len(nodes))]
        lines.append((f"B{number}", 3, stops, [0, *np.cumsum(ride).tolist()], every))
    return Transit(np.array(col), np.array(row), name_of, lines)


def _routes(streets: Streets, window: Window) -> list[NDArray[np.int64]]:
    """The nodes at which buses stop, of each street that is wide and long enough."""
    wide = (streets.kind == SECONDARY) | (streets.kind == TERTIARY)
    there = inside(window, streets.col, streets.row)[streets.ends].all(axis=1)
    routes = []
    for line in np.unique(streets.line[wide & there]).tolist():
        own = np.flatnonzero((streets.line == line) & wide & there)
        own = own[np.argsort(streets.step[own])]
        # Where a street is interrupted, a route ends.
        for part in np.split(own, np.flatnonzero(np.diff(streets.step[own]) > 1) + 1):
            nodes = np.append(streets.ends[part, 0], streets.ends[part[-1], 1])[::_STOP_EVERY]
            if len(nodes) >= 4:
                routes.append(nodes)
    return routes
