"""Geocells of 90,000 real photo coordinates against scikit-learn's HDBSCAN, and what each promises of a radius.

Both get the same points as unit vectors, with clusters of at least 40 points and 10 neighbours. HDBSCAN of scikit-learn
gives clusters and noise, of whatever extent; placevec gives cells that hold every point and keep a limit. Its figures
are of the whole way: clusters, noise assigned, splits until all limits hold, merges, coarser levels.

    PLACEVEC_DATA=DIR python benchmarks/geocells.py [--quick] [--rounds 3]

Run it by itself: a round takes a minute, most of it the peer's. What counts is processor time of one thread.
"""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

# One thread for each contestant, set before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import Targets, arguments, in_turn, machine, show, spread
from sklearn.cluster import HDBSCAN

from placevec.geo.geocells import GeoCellConfig, GeoCells, build_geocells
from placevec.geo.geocells.density import density_labels
from placevec.geo.regions import Regions, spherical_areas_m2
from placevec.geo.sphere import LonLat, distance_m, spherical_mean

CONFIG = GeoCellConfig()
PHOTOS = 90_000
SECONDS, FASTER = 10.0, 5.0  # what is claimed


def main() -> None:
    """Measure, show, and end with 1 if a claim does not hold."""
    given = arguments(__doc__.splitlines()[0])
    folder = os.environ.get("PLACEVEC_DATA")
    if not folder:
        raise SystemExit("set PLACEVEC_DATA to the folder of real data, which holds photos/coordinates_100K.csv")
    table = np.loadtxt(Path(folder) / "photos" / "coordinates_100K.csv", delimiter=",", skiprows=1)
    table = table[: PHOTOS // 15 if given.quick else PHOTOS]
    points, earth = LonLat(table[:, 1], table[:, 0]), Regions.whole_earth()
    unit = points.unit()
    print(machine())
    made: dict[str, GeoCells] = {}

    def ours() -> None:
        made["cells"] = build_geocells(points, earth, CONFIG)

    def plain() -> None:
        density_labels(unit, CONFIG)

    def theirs() -> None:
        HDBSCAN(
            min_cluster_size=CONFIG.min_points, min_samples=CONFIG.min_samples, algorithm="kd_tree", copy=True
        ).fit_predict(unit)

    contestants = {"placevec, all of it": ours, "placevec, clusters alone": plain, "scikit-learn HDBSCAN": theirs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = in_turn(contestants, rounds=given.rounds, warm_up=0, clock=time.process_time)
    peer = "scikit-learn HDBSCAN"
    rows = [
        [name, f"{times.median(name):.2f}", "" if name == peer else spread(times.ratio(name, peer))]
        for name in contestants
    ]
    show(f"{len(points):,} photos", ["", "seconds", "faster by"], rows)

    cells = made["cells"]
    label = density_labels(unit, CONFIG)
    radius = np.array([reach_m(points[label == cluster]) for cluster in range(int(label.max()) + 1)])
    own = cells.rows(points)
    away = distance_m(points, cells.centres[own])
    share = away / cells.limit_m[own]
    held = float((cells.radius_m <= cells.limit_m).mean())
    drawn = time.process_time()
    area = spherical_areas_m2(cells.polygons(np.arange(1, len(cells) + 1)))
    drawn = time.process_time() - drawn
    show(
        "What comes out",
        ["", "plain HDBSCAN", "geocells"],
        [
            ["clusters or cells", f"{len(radius):,}", f"{len(cells):,}"],
            ["points in none", f"{(label < 0).mean():.1%}", f"{(own < 0).mean():.1%}"],
            ["radius, median, km", f"{np.median(radius) / 1e3:.1f}", f"{np.median(cells.radius_m) / 1e3:.1f}"],
            ["radius, largest, km", f"{radius.max() / 1e3:,.0f}", f"{cells.radius_m.max() / 1e3:.2f}"],
            ["largest radius by its limit", "none", f"{share.max():.4f}"],
            ["cells within their limit", "", f"{held:.2%}"],
            ["cells of each coarser level", "", ", ".join(f"{cells.at(at).size:,}" for at in (1, 2, 3))],
            ["drawn as polygons, seconds", "", f"{drawn:.2f}"],
            ["area of the polygons by the Earth's", "", f"{area.sum() / earth.areas_m2.sum():.12f}"],
        ],
    )
    targets = Targets()
    targets.claim("every radius within its limit", held == 1.0 and bool((share <= 1.0).all()), f"{held:.2%} of cells")
    targets.claim("every point in a cell", bool((own >= 0).all()), f"{(own >= 0).mean():.2%}")
    tiled = abs(area.sum() / earth.areas_m2.sum() - 1.0)
    targets.claim("the cells tile the Earth, to 1e-9", tiled < 1e-9, f"{tiled:.0e}")
    if not given.quick:
        seconds, faster = times.median("placevec, all of it"), times.ratio("placevec, all of it", peer)
        targets.claim(f"in less than {SECONDS:.0f} s", seconds < SECONDS, f"{seconds:.1f} s")
        targets.claim(f"at least {FASTER:.0f} times faster than {peer}", faster[0] >= FASTER, spread(faster))
    targets.done()


def reach_m(points: LonLat) -> float:
    """How far the farthest of the points lies from their mean, in metres."""
    return float(distance_m(points, spherical_mean(points)).max())


if __name__ == "__main__":
    main()
