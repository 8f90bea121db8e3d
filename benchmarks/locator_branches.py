"""What do the camera's numbers, tags and a rough position add to the picture? On photos of the generated country.

The roadmap of the work that this follows named them and never tried. An image encoder learns the provinces once for
each seed and is frozen; on its features a new head learns cells and offsets, with each set of further inputs. All see
the same photos, split by blocks of 17 km with a buffer of 3 km, and are measured on blocks that none of them saw::

    python benchmarks/locator_branches.py [--size medium] [--seeds 3] [--quick]

The rough position is made here, as a phone's network might know it: for half of the photos, the place itself moved by a
normal error of 20 to 60 km, which is told in nine of ten cases. Beside the inputs one loss is tried: the density of the
true point under the mixture that is decoded, with weights beside the cross-entropy of cells.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# One thread: times are of one, whatever else the machine does.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from common import machine, show
from numpy.typing import NDArray

from placevec.encoders.locator import Locator
from placevec.geo.cells import parse_cells
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.geolocation import point_figures
from placevec.measure.intervals import group_codes, mean_sd, percentile_interval, resample_counts
from placevec.nn.locator import HeadConfig, LocatorHead, rough_positions
from placevec.sources.base import ArraySource
from placevec.sources.world import World
from placevec.tasks.train_locate import Dealt, SplitRule, deal
from placevec.train.locate import LocateTraining, Parts, train_locator

RULE = SplitRule(block="h3:5", folds=10, buffer_m=3000.0, calibration_folds=1, test_folds=2)
KINDS = ("metadata", "tags", "location")
SETS: tuple[tuple[str, ...], ...] = ((), ("metadata",), ("tags",), ("location",), ("metadata", "tags"), KINDS)
MIXTURES = (0.0, 0.1, 1.0)  # weights of the density; the first is that of all other rows
ERROR_M = (20_000.0, 60_000.0)  # of the rough position: a standard deviation to each side
NEAR_KM = 25.0
DRAWS = 1000
REACH_M = 25_000.0


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "medium"), default="medium", help="of the country")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the small country, one epoch; its figures prove nothing")
    options = parser.parse_args()
    world = World(0, "small" if options.quick else options.size)
    source, regions = country(world)
    places = source.places()
    dealt = deal(places.lonlat(), places.keys, RULE)
    print(machine())
    parts = (dealt.train, dealt.val, dealt.calibration, dealt.test)
    print(f"{len(places):,} photos: train, val, calibration, test {[len(rows) for rows in parts]}")
    errors: dict[str, list[Any]] = {}
    figures: dict[str, list[dict[str, float]]] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        for seed in range(1 if options.quick else options.seeds):
            base = Trial(source, regions, dealt, Path(home) / str(seed), seed, options.quick)
            runs = [(kinds, 0.0) for kinds in SETS] + [((), weight) for weight in MIXTURES[1:]]
            for kinds, weight in runs:
                name = named(kinds, weight)
                began = time.process_time()
                away, found = base.measured(kinds, weight)
                seconds[name] = time.process_time() - began
                errors.setdefault(name, []).append(away)
                figures.setdefault(name, []).append(found)
                print(f"seed {seed}, {name}: {found}", flush=True)
    report(errors, figures, seconds, blocks(places.lonlat(dealt.test)))


def country(world: World) -> tuple[ArraySource, Regions]:
    """Its photos with a rough position beside what cameras and people say, and its provinces."""
    source = world.photo_source()
    places = source.places()
    rough = rough_positions(places.lonlat(), np.random.default_rng(7), error_m=ERROR_M)
    data = source.read(np.arange(len(places))).data
    polygons = np.empty(len(world.provinces), dtype=object)
    polygons[:] = world.provinces
    return ArraySource(places, {**data, "location": rough}), Regions(tuple(world.province_names), polygons)


def named(kinds: Sequence[str], weight: float) -> str:
    """How a run is called."""
    if weight:
        return f"image, density {weight:g}"
    return " + ".join(("image", *kinds))


def training(seed: int, quick: bool, weight: float = 0.0) -> LocateTraining:
    """The settings of all runs."""
    width = 8 if quick else 24
    return LocateTraining.from_json(
        {
            "backbones": [
                {
                    "kind": "net",
                    "net": {"kind": "small-cnn", "width": width, "stages": 4, "stride": 2, "dims": 256},
                }
            ],
            "head": {"dims": 256, "dropout": 0.3},
            "geocells": {"dense_km": 12, "sparse_km": 30},
            "decoding": {"regions": 2, "cells": 5, "point": "mode", "reach_m": REACH_M},
            "province": {
                "loop": {"epochs": 1 if quick else 12, "batch_size": 128, "learning_rate": 0.002, "seed": seed},
                "loss": {"cell": 1.0, "offset": 0.0, "spread": 0.0, "auxiliary": 0.3, "region": 1.0, "tau_km": 30},
            },
            "geography": {
                "mixture": weight,
                "loop": {"epochs": 1 if quick else 20, "batch_size": 256, "seed": seed},
                "loss": {"tau_km": 20},
            },
            "seed": seed,
        }
    )


class Trial:
    """One seed: an image encoder that knows the provinces, and heads upon it."""

    def __init__(
        self, source: ArraySource, regions: Regions, dealt: Dealt, folder: Path, seed: int, quick: bool
    ) -> None:
        self.source, self.regions, self.folder, self.seed, self.quick = source, regions, folder, seed, quick
        self.parts = Parts(dealt.train, dealt.val, dealt.calibration)
        self.test = dealt.test
        self.base = self._train("province", folder / "image" / "province", None, 0.0)
        self.weights = {name: value.clone() for name, value in self.base.head.state_dict().items()}

    def measured(self, kinds: Sequence[str], weight: float) -> tuple[NDArray[np.float64], dict[str, float]]:
        """Errors (n,) in km of the tested photos, and figures, with these further inputs and this loss."""
        start = self._start(kinds)
        folder = self.folder / ("-".join(kinds) or "image")
        locator = self._train("geography", folder / f"geography-{weight:g}", start, weight)
        found = locator.predict(self.source.read(self.test).data)
        places = self.source.places()
        truth = places.lonlat(self.test)
        names = np.array(self.regions.names, dtype=object)[found.region]
        right = names == places.column("province")[self.test]
        figures = point_figures(truth, found.points)
        law = law_figures(found, locator, truth)
        away = distance_m(truth, found.points) / 1000.0
        chosen = {name: figures[name] for name in ("median_km", "mean_km", "acc_25")}
        return away, {**chosen, "province": float(right.mean()), **law}

    def _train(self, phase: Any, folder: Path, start: Locator | None, weight: float) -> Locator:
        config = training(self.seed, self.quick, weight)
        made = train_locator(
            self.source, self.parts, self.regions, config, phase, folder, start=start, block=RULE.block, restart=True
        )
        return made.locator

    def _start(self, kinds: Sequence[str]) -> Locator:
        """The encoder of phase 0 with a new head, the same weights in all that heads have in common."""
        lonlat = self.source.places().lonlat(self.parts.train)
        branches = [{"kind": kind} for kind in kinds]
        config = HeadConfig.from_json({**training(self.seed, self.quick).head.to_json(), "branches": branches})
        cells, reach = self.base.geocells, np.maximum(self.base.geocells.radius_m, 1000.0)
        torch.manual_seed(self.seed)
        head = LocatorHead(
            config.fitted(lonlat.lon, lonlat.lat),
            [backbone.width for backbone in self.base.backbones],
            np.diff(cells.starts).tolist(),
            torch.from_numpy(reach),
        )
        # Training changes what it is given: every run begins with a copy of the same weights.
        head.load_state_dict(self.weights, strict=False)
        return Locator(self.base.backbones, head, cells, self.base.card, decoding=self.base.decoding)


def law_figures(found: Any, locator: Locator, truth: LonLat) -> dict[str, float]:
    """The energy score of the law over cells, in km: proper, and far errors count more."""
    law = np.exp(found.joint_logs)
    centres = locator.geocells.centres
    apart = np.stack([distance_m(centres, centres[[k]]) for k in range(len(centres))]) / 1000.0
    away = np.stack([distance_m(truth, centres[[k]]) for k in range(len(centres))], axis=1) / 1000.0
    return {"energy_km": float(((law * away).sum(axis=1) - ((law @ apart) * law).sum(axis=1) / 2.0).mean())}


def blocks(lonlat: LonLat) -> NDArray[Any]:
    """The block of each photo, which the bootstrap draws."""
    return parse_cells(RULE.block).assign(lonlat)


def report(
    errors: Mapping[str, list[Any]],
    figures: Mapping[str, list[dict[str, float]]],
    seconds: Mapping[str, float],
    groups: NDArray[Any],
) -> None:
    """Means over seeds, and the difference to the image alone over blocks."""
    codes = group_codes(groups, len(groups))
    counts = resample_counts(int(codes.max()) + 1, DRAWS)
    rows = []
    for name, each in figures.items():
        cells = [name]
        for key, digits in (("province", 3), ("median_km", 1), ("acc_25", 3), ("energy_km", 1)):
            mean, sd = mean_sd([one[key] for one in each])
            cells.append(f"{mean:.{digits}f} ± {sd:.{digits}f}")
        pairs = zip(errors["image"], errors[name], strict=True)
        within = np.mean([(other < NEAR_KM) * 1.0 - (alone < NEAR_KM) for alone, other in pairs], axis=0)
        cells += [gain(within, codes, counts), f"{seconds[name]:.0f}"]
        rows.append(cells)
    head = ["inputs", "province", "median, km", "within 25 km", "energy, km", "gain within 25 km", "CPU s"]
    show(f"{len(groups):,} photos of {int(codes.max()) + 1} blocks", head, rows)


def gain(values: NDArray[np.float64], codes: NDArray[np.int64], counts: NDArray[Any]) -> str:
    """The mean of paired differences (n,), with its interval over blocks."""
    sums, sizes = np.bincount(codes, weights=values), np.bincount(codes)
    drawn = counts.astype(np.float64)
    low, high = percentile_interval((drawn @ sums) / (drawn @ sizes))
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
