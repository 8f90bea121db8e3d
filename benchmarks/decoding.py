"""From hypotheses to points and regions: all images at once against one image at a time.

Each point estimate runs over all images in one call, and then over the same images in a loop, with the same answers.
Then levels, masses within a radius and credible regions are counted per second, and how far levels and regions are from
what they say. Run it by itself, on a quiet machine: ``python benchmarks/decoding.py [--quick]``.
"""

from __future__ import annotations

import os
import time

# One thread for each contestant, set before numpy is imported: threads wait for each other on a machine in use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import shapely
from common import Targets, arguments, in_turn, machine, show, spread

from placevec.geo.mixture import (
    POINTS,
    Mixture,
    credible_level,
    credible_regions,
    even_points,
    hypotheses,
    points,
    within_mass,
)
from placevec.geo.mixture.points import Kind
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, distance_m

DOMAIN = shapely.box(61.0, 24.0, 77.0, 37.0)
AREA_M2 = 2.1e12
M = 10


def make_mixture(n: int) -> Mixture:
    """N laws of ten hypotheses in a country: 10 to 100 km wide, up to some hundred km apart."""
    rng = np.random.default_rng(0)
    middle = rng.uniform([63, 26], [75, 35], (n, 1, 2)) + rng.normal(size=(n, M, 2)) * [1.5, 1.2]
    lonlat = LonLat(middle[..., 0].ravel(), middle[..., 1].ravel())
    weights = 0.9 * rng.dirichlet(np.full(M, 0.5), size=n)
    spreads = np.exp(rng.uniform(np.log(10e3), np.log(100e3), (n, M)))
    ground = even_points(DOMAIN)
    return Mixture.of(
        lonlat.unit().reshape(n, M, 3), weights, spreads, area_m2=AREA_M2, floor=0.02, tail=0.5, ground=ground
    )


def looped(mixture: Mixture, how: Kind) -> LonLat:
    parts = [points(mixture[row], how) for row in range(len(mixture))]
    return LonLat(np.array([p.lon[0] for p in parts]), np.array([p.lat[0] for p in parts]))


def draw(law: Mixture, count: int) -> LonLat:
    """Random places of one law: where a normal law in the tangent plane says, and of the floor those of the ground."""
    rng = np.random.default_rng(1)
    share = np.append(law.weights[0], law.floor[0])
    which = rng.choice(M + 1, count, p=share / share.sum())
    kappa = (EARTH_RADIUS_M / np.append(law.spread_m[0], 1e9)) ** 2
    height = -np.log1p(rng.uniform(size=count) * np.expm1(-2 * kappa[which])) / kappa[which]
    turn, side = rng.uniform(0, 2 * np.pi, count), np.sqrt(np.maximum(height * (2 - height), 0))
    axis = np.concatenate([law.unit[0], [[0.0, 0.0, 1.0]]])[which]
    one = np.cross(axis, [0.0, 0.0, 1.0])
    one /= np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-300)
    two = np.cross(axis, one)
    x = (1 - height)[:, None] * axis + side[:, None] * (np.cos(turn)[:, None] * one + np.sin(turn)[:, None] * two)
    assert law.ground is not None
    x[which == M] = law.ground[rng.integers(0, len(law.ground), int((which == M).sum()))]
    return LonLat.from_unit(x)


def estimates(many: Mixture, alone: int, rounds: int, targets: Targets) -> None:
    rows, mixture = [], many[:alone]
    for how in POINTS:
        batched, single = points(mixture, how), looped(mixture, how)
        off = float(distance_m(batched, single).max())
        times = in_turn(
            {"batched": lambda how=how: points(mixture, how), "loop": lambda how=how: looped(mixture, how)}, rounds
        )
        ratio = times.ratio("batched", "loop")
        rows.append([how, f"{1e3 * times.median('batched'):.0f}", f"{1e3 * times.median('loop'):.0f}", spread(ratio)])
        targets.claim(f"{how}: the same points, at least 4 times as fast", off < 0.01 and ratio[0] >= 4, spread(ratio))
        seconds = in_turn({"all": lambda how=how: points(many, how)}, rounds).median("all")
        targets.claim(f"{how}: {len(many):,} images in under a second", seconds < 1.0, f"{seconds:.2f} s")
    show(f"{len(mixture):,} images x {M} hypotheses", ["point", "batched ms", "loop ms", "batched faster by"], rows)


def regions(mixture: Mixture, rounds: int, targets: Targets) -> None:
    n = len(mixture)
    centre = points(mixture)
    calls = {
        "credible regions 50/80/95 %": lambda: [credible_regions(mixture[row], domain=DOMAIN) for row in range(n)],
        "credible level of a point": lambda: credible_level(mixture, centre),
        "mass within 25 km": lambda: within_mass(mixture, centre, 25e3),
    }
    # Time of this process alone: what others compute beside it does not count.
    times = in_turn(calls, rounds, clock=time.process_time)
    rows = [[name, f"{n / times.median(name):,.0f}", f"{1e3 * times.median(name) / n:.2f}"] for name in calls]
    show(f"of {n:,} mixtures", ["what", "per second", "ms each"], rows)
    each = 1e3 * times.median("credible regions 50/80/95 %") / n
    targets.claim("three credible regions in under 20 ms an image", each < 20, f"{each:.1f} ms")
    mass, level = [], []
    for row in range(min(n, 40)):
        places = draw(mixture[row], 20_000)
        for region in credible_regions(mixture[row]):
            shapely.prepare(region.polygon)
            mass.append(shapely.contains_xy(region.polygon, places.lon, places.lat).mean() - region.level)
        # Places drawn from a law have levels that are uniform.
        said = np.sort(credible_level(mixture[row], places[:5000]))
        level.append(np.abs(said - (np.arange(5000) + 0.5) / 5000).max())
    worst, off = float(np.abs(mass).max()), float(np.median(level))
    targets.claim("regions hold what they say, to 0.02", worst < 0.02, f"{worst:.3f} at worst")
    targets.claim("levels are uniform (sampling alone: 0.012)", off < 0.02, f"{off:.3f}")


def choices(n: int, rounds: int) -> None:
    rng = np.random.default_rng(2)
    starts = np.array([0, 450, 589, 639, 658, 688, 694, 699])
    region, cell = rng.normal(size=(n, 7)), 3 * rng.normal(size=(n, 699))
    times = in_turn({"batched": lambda: hypotheses(region, cell, starts)}, rounds)
    seconds = times.median("batched")
    show("top 2 regions x top 5 of 699 cells", ["images", "seconds"], [[f"{n:,}", f"{seconds:.2f}"]])


def main() -> None:
    options = arguments(__doc__ or "")
    print(machine())
    targets = Targets()
    estimates(make_mixture(1000 if options.quick else 10_000), 200 if options.quick else 1000, options.rounds, targets)
    regions(make_mixture(50 if options.quick else 300), options.rounds, targets)
    choices(500 if options.quick else 10_000, 3)
    targets.done()


if __name__ == "__main__":
    main()
