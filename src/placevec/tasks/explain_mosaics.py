"""Which evidence points at the right place? Mosaics of tiles of known class, without a single labelled pixel.

Test tiles of distinct classes are joined to a mosaic of 2 x 2 to 4 x 4; the query names one class that is in it. A
method of `explain` hits where the maximum of its heat map lies in that class's cell (the pointing game of Zhang et al.
2016, "Top-down neural attention by excitation backprop"); by chance that is one in as many as there are cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.features.evidence import Crops, HeatMap, heat_map
from placevec.measure.intervals import compare, percentile_interval, resample_counts
from placevec.sources.base import Source
from placevec.tasks.explain_methods import Method, field_of
from placevec.tasks.explain_query import Query, text_query, unit

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel

Floats = NDArray[np.float64]
Choose = Callable[[int, int], Method]
"""The method for a mosaic of `side` x `side` cells of `tile` pixels."""

FINE = 8  # positions on the side of a cell, at which all maps are compared
POOL = 0.25  # of a tile: what is looked for is as large as a tile (chosen on mosaics of a validation split)
TEMPLATES = ("{}", "there is a {}")
METRICS = ("pointing", "cell_ap", "pixel_ap")


def _dense(side: int, tile: int) -> Method:
    return Method("dense", tile=tile, pool=POOL)


def _parts(side: int, tile: int) -> Method:
    return Method("dense", tile=tile, pool=0.0)


def _shrunk(side: int, tile: int) -> Method:
    return Method("dense", pool=POOL / side)


def _crops(side: int, tile: int) -> Method:
    return Method("crops", tile=tile, crops=Crops((1.0, 0.5)))


def _grid(side: int, tile: int) -> Method:
    return Method("grid", cells=2 * side)


def _four(side: int, tile: int) -> Method:
    return Method("grid", cells=4, one_by_one=True)


METHODS: Mapping[str, Choose] = {
    "dense": _dense,  # the network laid over the mosaic at the scale of its training: nothing is shrunk
    "dense-parts": _parts,  # the same without pooling: the parts of the image's score
    "dense-shrunk": _shrunk,  # the whole mosaic at the size of one image: the cheapest
    "crops": _crops,  # windows of a tile's side and of half of it
    "grid": _grid,  # four cells for each tile, in one batch
    "grid-4x4": _four,  # 16 cells, one forward pass each, as older systems do
}
"""The methods compared; those by names with ``grid`` are the baselines."""
BASELINE = "grid"


@dataclass(frozen=True)
class Plan:
    """Which mosaics are made.

    Raises:
        UsageError: a number out of range.
    """

    sides: tuple[int, ...] = (2, 3, 4)  # cells on a side
    count: int = 30  # mosaics of each
    tile: int = 256  # pixels on the side of a cell
    cut: float = 0.5  # share of a cell cut away at opposite edges, parted at random: no grid lies on the cells
    templates: tuple[str, ...] = TEMPLATES  # prompts whose vectors are averaged; {} is the class
    draws: int = 1000  # of the bootstrap, over mosaics
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sides or min(self.sides) < 2 or self.count < 1 or self.tile < 8 or self.draws < 1:
            raise UsageError(f"{self}: sides from 2, at least one mosaic and one draw, tiles from 8 pixels")
        if not 0 <= self.cut < 1:
            raise UsageError(f"cut = {self.cut}: give a share from 0 to below 1")
        if not self.templates or any("{}" not in template for template in self.templates):
            raise UsageError(f"templates {self.templates}: each needs {{}}, where the class stands")


@dataclass(frozen=True)
class Mosaic:
    """Tiles of distinct classes side by side."""

    pixels: NDArray[np.uint8]  # (bands, height, width)
    labels: tuple[str, ...]  # side² classes, row by row
    rows: tuple[int, ...]  # the tiles, as rows of their source
    y: tuple[int, ...]  # side + 1 edges of the cells in pixels, from 0 to the height
    x: tuple[int, ...]  # from 0 to the width

    @property
    def side(self) -> int:
        """Cells on a side."""
        return len(self.y) - 1

    def cells(self, y: Floats, x: Floats) -> NDArray[np.int64]:
        """The number (len(y), len(x)) of the cell at rows and columns in pixels."""
        down, across = (np.searchsorted(edge[1:-1], at, side="right") for edge, at in ((self.y, y), (self.x, x)))
        return np.asarray(down[:, None] * self.side + across[None], dtype=np.int64)


@dataclass(frozen=True)
class Result:
    """What was measured."""

    records: tuple[dict[str, Any], ...]  # one for each method and side, and "all" sides
    facts: Mapping[str, Any]  # what was measured on
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"evidence": 1, "facts": dict(self.facts), "records": list(self.records), "notes": list(self.notes)}

    def of(self, method: str, side: int | str = "all") -> dict[str, Any]:
        """The record of a method; UsageError if there is none."""
        for record in self.records:
            if (record["method"], record["side"]) == (method, side):
                return record
        raise UsageError(f"nothing was measured of {method!r} on mosaics of side {side}")


@dataclass
class _Tally:
    """Of one method: a row for each query and a time for each mosaic."""

    rows: list[tuple[int, float, float, float]] = field(default_factory=list)  # mosaic, then METRICS
    seconds: list[float] = field(default_factory=list)  # for an image and one query


def evaluate_evidence(
    pair: PairModel,
    source: Source,
    labels: Sequence[str] | NDArray[Any],
    *,
    words: Mapping[str, str],
    plan: Plan | None = None,
    methods: Mapping[str, Choose] | None = None,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Measure methods of evidence by mosaics of labelled tiles.

    Args:
        pair: the towers.
        source: gives "image" (m, bands, tile, tile) uint8 for its rows: the tiles of the test split, and no others.
        labels: (n,) the class of each row.
        words: of each class, see `class_words.prompts`.
        plan: which mosaics.
        methods: by name; `BASELINE` among them is what the others are compared with.
        progress: told of the mosaics done, and of all.
        clock: in seconds; `time.process_time` where each method has one thread, on a machine that others use.

    Raises:
        UsageError: a method does not go with the model.
        DataError: fewer classes than the largest mosaic has cells, or no mosaic could be read.
    """
    rule, chosen = plan or Plan(), methods or METHODS
    queries = _queries(pair, words, rule.templates)
    tallies = {(name, side): _Tally() for name in chosen for side in rule.sides}
    made, skipped, total = 0, 0, len(rule.sides) * rule.count
    for one in draw(source, labels, rule):
        if one is None:
            skipped += 1
            continue
        if not made:  # what is loaded or tuned once is nobody's time
            for choose in chosen.values():
                field_of(pair, one.pixels, choose(one.side, rule.tile))
        # Each in turn is the first, which finds the caches cold.
        order = list(chosen)[made % len(chosen) :] + list(chosen)[: made % len(chosen)]
        for name in order:
            method = chosen[name](one.side, rule.tile)
            _measure(pair, one, method, queries, tallies[name, one.side], made, clock)
        made += 1
        if progress is not None:
            progress(made + skipped, total)
    if not made:
        raise DataError(f"none of {total} mosaics could be read: look at the images of the source")
    records = []
    parts: list[tuple[int | str, tuple[int, ...]]] = [(side, (side,)) for side in rule.sides]
    for label, sides in [*parts, ("all", rule.sides)]:
        records += _records({name: [tallies[name, side] for side in sides] for name in chosen}, label, rule)
    facts = {
        "model": pair.card.name or pair.space.label,
        "calibrated": pair.relevance is not None,
        "classes": dict(words),
        "tile": rule.tile,
        "mosaics": made,
        "templates": list(rule.templates),
        "seed": rule.seed,
    }
    notes = (f"{skipped} mosaics were left out, since a tile of theirs could not be read",) if skipped else ()
    return Result(tuple(records), facts, notes)


def draw(source: Source, labels: Sequence[str] | NDArray[Any], plan: Plan) -> Iterator[Mosaic | None]:
    """The mosaics of a plan, in a fixed order; None in place of one whose tiles could not all be read.

    Classes are drawn without repetition, then one tile of each; both evenly.
    """
    named = np.asarray(labels, dtype=object)
    by_class = {str(name): np.flatnonzero(named == name) for name in sorted(set(named.tolist()) - {None, ""})}
    need = max(plan.sides) ** 2
    if len(by_class) < need:
        raise DataError(
            f"{len(by_class)} classes do not fill a mosaic of {need} cells: give smaller sides or more data"
        )
    rng = np.random.default_rng(plan.seed)
    names = np.array(list(by_class), dtype=object)
    for side in plan.sides:
        for _ in range(plan.count):
            classes = [str(name) for name in rng.choice(names, side * side, replace=False)]
            rows = np.array([rng.choice(by_class[name]) for name in classes], dtype=np.int64)
            batch = source.read(rows)
            if len(batch.rows) < len(rows):
                yield None
                continue
            yield mosaic(batch.data["image"], classes, rows.tolist(), plan, rng)


def mosaic(
    tiles: NDArray[np.uint8], classes: Sequence[str], rows: Sequence[int], plan: Plan, rng: np.random.Generator
) -> Mosaic:
    """Tiles (side², bands, tile, tile) joined, and cut at random edges, so much in all as the plan has it.

    All mosaics of a side have one size: networks are slower at each size that they meet for the first time.
    """
    side, tile = round(len(classes) ** 0.5), plan.tile
    cut = int(plan.cut * tile)
    top, left = (int(at) for at in rng.integers(0, cut + 1, 2))
    length = side * tile - cut
    pixels = join(tiles, side, tile)[:, top : top + length, left : left + length]
    y, x = ((0, *(at * tile - first for at in range(1, side)), length) for first in (top, left))
    return Mosaic(np.ascontiguousarray(pixels), tuple(classes), tuple(rows), y, x)


def join(tiles: NDArray[np.uint8], side: int, tile: int) -> NDArray[np.uint8]:
    """Tiles (side², bands, tile, tile) as one image (bands, side·tile, side·tile), row by row."""
    bands = tiles.shape[1]
    if tiles.shape != (side * side, bands, tile, tile):
        raise DataError(
            f"tiles {tiles.shape} for a mosaic of {side} x {side} cells of {tile} pixels: resize them first"
        )
    grid = tiles.reshape(side, side, bands, tile, tile).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(grid.reshape(bands, side * tile, side * tile))


def fine_map(heat: HeatMap, positions: int) -> Floats:
    """A heat map at `positions` x `positions`: linear between its own, or flat where its positions are cells."""
    rows, columns = heat.values.shape
    y, x = ((np.arange(positions) + 0.5) * n / positions - 0.5 for n in (rows, columns))
    if heat.cells:
        return np.asarray(heat.values[np.rint(y).astype(int).clip(0)][:, np.rint(x).astype(int).clip(0)])
    across = np.stack([np.interp(x, np.arange(columns), row) for row in heat.values])
    return np.stack([np.interp(y, np.arange(rows), column) for column in across.T], axis=1)


def judged(heat: HeatMap, where: Mosaic, cell: int) -> tuple[float, float, float]:
    """Whether the maximum lies in the right cell, the average precision of the cells, and that of the positions.

    A cell's score is its mean. With one right cell the first average precision is one over its rank; ties count as
    their mean.
    """
    from sklearn.metrics import average_precision_score

    x, y = heat.peak
    hit = float(where.cells(np.array([y]), np.array([x]))[0, 0] == cell)
    count = FINE * where.side
    fine = fine_map(heat, count)
    at = where.cells(*((np.arange(count) + 0.5) * length / count for length in heat.size)).ravel()
    cells = where.side**2
    scores = np.bincount(at, weights=fine.ravel(), minlength=cells) / np.bincount(at, minlength=cells)
    rank = 1 + (scores > scores[cell]).sum() + ((scores == scores[cell]).sum() - 1) / 2
    return hit, 1.0 / float(rank), float(average_precision_score(at == cell, fine.ravel()))


def _queries(pair: PairModel, words: Mapping[str, str], templates: Sequence[str]) -> dict[str, Query]:
    from dataclasses import replace

    found = {}
    for label, text in words.items():
        each = [text_query(pair, template.format(text)) for template in templates]
        mean = unit(np.mean([one.vector for one in each], axis=0, keepdims=True))[0]
        found[label] = replace(each[0], vector=mean)
    return found


def _measure(
    pair: PairModel,
    where: Mosaic,
    method: Method,
    queries: Mapping[str, Query],
    tally: _Tally,
    group: int,
    clock: Callable[[], float],
) -> None:
    start = clock()
    laid = field_of(pair, where.pixels, method)
    for cell, label in enumerate(where.labels):
        query = queries[label]
        heat = heat_map(laid, query.vector, query.background, smooth=method.smoothing(*laid.size))
        if cell == 0:
            tally.seconds.append(clock() - start)
        tally.rows.append((group, *judged(heat, where, cell)))


def _records(tallies: Mapping[str, Sequence[_Tally]], side: int | str, plan: Plan) -> list[dict[str, Any]]:
    base = BASELINE if BASELINE in tallies else next(iter(tallies))
    values = {name: np.array([row for one in some for row in one.rows]) for name, some in tallies.items()}
    seconds = {name: np.array([value for one in some for value in one.seconds]) for name, some in tallies.items()}
    if not len(values[base]):
        return []
    groups = np.unique(values[base][:, 0])
    counts = resample_counts(len(groups), plan.draws, plan.seed).astype(np.float64)
    codes = np.searchsorted(groups, values[base][:, 0])
    size = counts @ np.bincount(codes, minlength=len(groups))
    draws = {
        name: {
            metric: counts @ np.bincount(codes, weights=rows[:, at], minlength=len(groups)) / size
            for at, metric in enumerate(METRICS, 1)
        }
        for name, rows in values.items()
    }
    records = []
    for name, rows in values.items():
        record: dict[str, Any] = {
            "side": side,
            "method": name,
            "mosaics": len(groups),
            "queries": len(rows),
        }
        for at, metric in enumerate(METRICS, 1):
            low, high = percentile_interval(draws[name][metric])
            record |= {metric: float(rows[:, at].mean()), f"{metric}_low": low, f"{metric}_high": high}
        # The shares of a mosaic's cells add up to 1, and each cell is asked for once.
        record["chance"] = len(groups) / len(rows)
        record["seconds"] = float(np.median(seconds[name]))
        record["time_ratio"] = float(np.median(seconds[name] / seconds[base]))
        if name != base:
            mine, theirs = rows[:, 1].mean(), values[base][:, 1].mean()
            told = compare([mine], [theirs], draws[name]["pointing"], draws[base]["pointing"], "accuracy")
            record |= {"against": base, "difference": told.difference, "difference_low": told.low}
            record |= {"difference_high": told.high, "outcome": told.outcome}
        records.append(record)
    return records
