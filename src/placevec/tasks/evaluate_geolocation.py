"""`evaluate geolocation`: how far off a locator is, end to end, on photos that it has never seen.

Every figure stands beside what costs nothing: the middle of the training places, the most similar training photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec import __version__
from placevec.errors import DataError, UsageError
from placevec.files import write_text
from placevec.geo.sphere import LonLat
from placevec.measure.geolocation import LEVELS, Method, Role, distances, method_rows
from placevec.measure.intervals import DRAWS
from placevec.sources.base import Source
from placevec.sources.photos import is_photo_list
from placevec.tasks.evaluate_geolocation_answers import Answering, Answers, Progress, answers_of, counted, looks_of
from placevec.tasks.evaluate_geolocation_figures import write_figures
from placevec.tasks.evaluate_geolocation_given import Predictions, given_points
from placevec.tasks.evaluate_geolocation_inputs import Parts, block_names, part_rows
from placevec.tasks.evaluate_geolocation_laws import class_table, confidence_record, credible_law, law_record
from placevec.tasks.evaluate_geolocation_page import html_report, markdown
from placevec.tasks.evaluate_geolocation_photos import Photos, region_records
from placevec.tasks.evaluate_geolocation_result import GeolocationEvaluation
from placevec.tasks.evaluate_geolocation_rivals import CHANCE, PRIOR, Rivals, Training, rivals_of
from placevec.tasks.inputs import Input

if TYPE_CHECKING:
    from placevec.geo.mixture.points import Kind

ORACLE = "offset in the true cell"
DECODERS: tuple[Kind, ...] = ("mode", "argmax", "median", "geoscore", "flat")
_FEW_BLOCKS = 10


@dataclass(frozen=True)
class GeolocationRules:
    """How it is measured."""

    where: str | None = None  # which rows are tested, such as "split == 'test'"; None: all that were not seen
    unseen: bool = False  # leave out rows that were seen or lie too near, instead of a LeakError
    buffer_m: float | None = None  # around training rows; None: that of the split
    block: str | None = None  # blocks that the bootstrap draws, such as "h3:3"; None: those of the split, else places
    limit: int | None = None  # at most so many tested photos, at random
    levels: tuple[float, ...] = LEVELS  # of the credible regions
    areas: int = 200  # of at most so many photos the regions are drawn, to measure their areas
    backbones: bool = True  # the nearest image by the features of each backbone, too
    pixels: bool = True  # and by colours and pixels
    draws: int = DRAWS  # bootstrap resamples
    seed: int = 0


def evaluate_geolocation(
    model: str | Path | Answering | None = None,
    on: Input | Source | str | Path | None = None,
    *,
    untrained: str | Path | Answering | None = None,
    predictions: Predictions | None = None,
    rules: GeolocationRules | None = None,
    out: str | Path | None = None,
    html: bool = True,
    progress: Progress | None = None,
) -> GeolocationEvaluation:
    """Measure a locator on photos that it has not seen, or points that anybody has given, beside every baseline.

    Args:
        model: a locator, or its folder.
        on: photos or chips with coordinates, or the path of a list of photos: those of the training, of which the rows
            that were not seen are tested.
        untrained: a locator of the same shape before its first step.
        predictions: points with their true places, instead of a model; see `read_predictions`. A law was not given
            with them, so NLL, coverage and regions are left out, and said to be.
        rules: which rows, blocks, baselines and draws.
        out: a JSON file; beside it stand a Markdown file, an HTML page, the figures and a table of the photos.
        html: whether the page and the figures are drawn, which needs matplotlib.
        progress: called with a label, steps done and steps in all.

    Raises:
        LeakError: a row to be tested was seen, or lies within the buffer of one that was learned from.
        UsageError: neither a model nor predictions, or both; no photos; a locator that has not learned cells yet, or
            an untrained one that is trained.
        DataError: no row is left to test.
    """
    given = rules or GeolocationRules()
    if out is not None and Path(out).suffix != ".json":
        raise UsageError(f"{out}: name the output NAME.json; the page, the figures and the photos stand beside it")
    if (model is None) == (predictions is None):
        raise UsageError("give either a locator (--model) or points that somebody has given (--predictions)")
    if predictions is not None:
        found, photos = given_points(predictions, given.block, given.draws, given.seed)
    else:
        if on is None:
            raise UsageError("on which photos? give those of the training: --on, with what is read there")
        assert model is not None
        locator = _locator(model)
        found, photos = _Run(locator, _source(on, locator), given, progress).measured(
            None if untrained is None else _locator(untrained, untrained=True)
        )
    if out is not None:
        target = Path(out)
        write_text(target, found.to_json())
        photos.write(target.with_suffix(".photos.parquet"))
        drawn = write_figures(found, photos, target) if html else {}
        write_text(target.with_suffix(".md"), markdown(found, {name: path.name for name, path in drawn.items()}))
        if html:
            html_report(found, drawn).write(target.with_suffix(".html"))
    return found


def _locator(given: str | Path | Answering, *, untrained: bool = False) -> Answering:
    if not isinstance(given, str | Path):
        return given
    from placevec.encoders.locator import Locator

    locator = Locator.load(given)
    if not untrained:
        locator.require_cells()
    elif locator.phase is not None:
        raise UsageError(f"{given} is trained: --untrained takes what `train --untrained` wrote before the first step")
    found: Answering = locator
    return found


def _source(on: Input | Source | str | Path, locator: Answering) -> Source:
    """What is read: a list of photos as the locator wants them, else what the words or the caller say."""
    if isinstance(on, Input):
        bare = on.chips is None and on.patches is None and not on.files
        return locator.open(on.on) if bare and is_photo_list(on.on) else on.source()
    return locator.open(on) if isinstance(on, str | Path) else on


class _Run:
    """One locator on one source."""

    def __init__(self, locator: Answering, source: Source, rules: GeolocationRules, progress: Progress | None) -> None:
        self.locator, self.source, self.rules, self.progress = locator, source, rules, progress
        self.places = source.places()
        self.name = str(locator.card.name or locator.card.kind)
        gallery = getattr(locator, "gallery", None)
        self.parts: Parts = part_rows(
            self.places,
            locator.card.saw,
            name=self.name,
            gallery=None if gallery is None else gallery.ids,
            where=rules.where,
            unseen=rules.unseen,
            buffer_m=rules.buffer_m,
            limit=rules.limit,
            seed=rules.seed,
        )
        self.notes = list(self.parts.notes)
        self.regions = locator.geocells.regions
        self.cells = rules.block or self.parts.cells

    def measured(self, untrained: Answering | None) -> tuple[GeolocationEvaluation, Photos]:
        """Everything that is measured, and the photos one by one."""
        test = self._inside(self.parts.test)
        answers = answers_of(self.locator, self.source, test, self.progress)
        if answers.skipped:
            self.notes.append(f"could not be read: {counted(answers.skipped)}")
        rows, truth = answers.rows, answers.truth
        blocks = block_names(truth, self.places.keys[rows], self.cells)
        count = len(np.unique(blocks))
        if count < _FEW_BLOCKS:
            self.notes.append(f"the photos lie in {count} blocks: intervals of so few blocks say little")
        if getattr(self.locator.calibration, "rows", None) == 0:
            self.notes.append("the locator is not calibrated: its confidence and regions are the network's own")
        law = credible_law(self.locator, answers, self.rules.levels, self.rules.areas, self.progress)
        own = self._method("locator", "learned", truth, answers.points, law.law.rows())
        methods = [own, *self._decoders(answers)]
        laws = {own.name: law_record(law)}
        classes = {own.name: class_table(self.locator.geocells, truth, answers.region_logs, answers.cell_logs)}
        if untrained is not None:
            other = answers_of(untrained, self.source, rows, self.progress, "untrained network")
            idle = credible_law(untrained, other, self.rules.levels, 0, None)
            kept = np.array_equal(other.rows, rows)
            if not kept:
                raise DataError("the untrained network could not read the same photos: give one of the same shape")
            methods.append(self._method("untrained network", "untrained", truth, other.points, idle.law.rows()))
            laws["untrained network"] = law_record(idle)
            classes["untrained network"] = class_table(untrained.geocells, truth, other.region_logs, other.cell_logs)
        rivals = self._rivals(rows, truth)
        if rivals is not None:
            methods += self._baselines(rivals, truth)
            if rivals.law is not None:
                laws[PRIOR] = rivals.law.figures()
            classes["most frequent in training"] = self._frequent(truth)
        if answers.oracle is not None:
            methods.append(self._oracle(truth, answers.oracle, answers.points))
        table = method_rows(methods, blocks, draws=self.rules.draws, seed=self.rules.seed)
        photos = Photos(
            self.places.ids[rows],
            truth,
            answers.points,
            answers.confidence,
            np.asarray(self.regions.assign(truth)),
            tuple(self.regions.names),
            law.law.covered,
            self.regions,
            {} if rivals is None else {name: distances(truth, points) for name, points in rivals.points.items()},
        )
        found = GeolocationEvaluation(
            table,
            classes,
            laws,
            confidence_record(photos.km, answers.confidence, answers.confidence_m),
            region_records(photos, self._training_counts(), answers.region_logs),
            tuple(self.notes),
            self._about(rows, count, law.drawn, rivals),
        )
        return found, photos

    def _inside(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that lie in the regions of the model: it never could place the others."""
        inside = self.regions.assign(LonLat(self.places.lon[rows], self.places.lat[rows])) >= 0
        if not inside.all():
            self.notes.append(f"{int((~inside).sum()):,} photos lie outside the regions of the model: left out")
        if not inside.any():
            raise DataError("no photo lies in the regions of the model: give photos of its area")
        return np.asarray(rows[inside])

    def _method(
        self,
        name: str,
        role: Role,
        truth: LonLat,
        points: LonLat,
        extra: dict[str, NDArray[np.float64]] | None = None,
        about: str = "",
    ) -> Method:
        return Method(
            name, role, distances(truth, points), {**self._right(truth, points), **(extra or {})}, about=about
        )

    def _right(self, truth: LonLat, points: LonLat) -> dict[str, NDArray[np.float64]]:
        """Whether each point lies in the region and the cell of its truth; NaN where the truth has none."""
        found = {}
        for name, named in (("region", self.regions.assign), ("cell", self.locator.geocells.rows)):
            true, guess = np.asarray(named(truth)), np.asarray(named(points))
            found[name] = np.where(true >= 0, (true == guess).astype(np.float64), np.nan)
        return found

    def _decoders(self, answers: Answers) -> list[Method]:
        """Every reading of the same laws."""
        from placevec.geo.mixture import points

        reach = float(getattr(getattr(self.locator, "decoding", None), "reach_m", 50_000.0))
        return [
            self._method(f"decoder: {how}", "decoder", answers.truth, points(answers.mixture, how, reach_m=reach))
            for how in DECODERS
        ]

    def _oracle(self, truth: LonLat, oracle: LonLat, points: LonLat) -> Method:
        """The diagnostic; a photo whose truth lies in no cell keeps the answer that was given without it."""
        known = np.asarray(self.locator.geocells.rows(truth)) >= 0
        told = LonLat(np.where(known, oracle.lon, points.lon), np.where(known, oracle.lat, points.lat))
        return Method(ORACLE, "diagnostic", distances(truth, told), about="told the true cell: no answer")

    def _rivals(self, rows: NDArray[np.int64], truth: LonLat) -> Rivals | None:
        """The baselines; None where the source does not hold what was learned from."""
        train = self.parts.train
        if not len(train):
            self.notes.append(
                "the source holds no row that was learned from: there are no baselines; give the same --on"
            )
            return None
        where = LonLat(self.places.lon[train], self.places.lat[train])
        blocks = block_names(where, self.places.keys[train], self.cells)
        looks = looks_of(
            self.source,
            np.concatenate([train, rows]),
            self.locator,
            backbones=self.rules.backbones,
            pixels=self.rules.pixels,
            progress=self.progress,
        )
        training = Training(train, where, blocks, self.parts.buffer_m)
        return rivals_of(truth, rows, training, looks, self.regions, self.rules.levels)

    def _baselines(self, rivals: Rivals, truth: LonLat) -> list[Method]:
        """The baselines with the regions and cells that they name, and the prior with the law of its density."""
        train = self.parts.train
        where = LonLat(self.places.lon[train], self.places.lat[train])
        found = []
        for one in rivals.methods:
            extra: dict[str, NDArray[np.float64]] = {}
            if one.name in rivals.points:
                extra = self._right(truth, rivals.points[one.name])
            elif one.name == CHANCE:
                extra = self._right_by_chance(truth, where)
            if one.name == PRIOR and rivals.law is not None:
                extra |= rivals.law.rows()
            found.append(Method(one.name, one.role, one.km, extra, one.about))
        return found

    def _right_by_chance(self, truth: LonLat, where: LonLat) -> dict[str, NDArray[np.float64]]:
        """How often a random training place lies in the region and the cell of each truth."""
        found = {}
        for name, named in (("region", self.regions.assign), ("cell", self.locator.geocells.rows)):
            true, drawn = np.asarray(named(truth)), np.asarray(named(where))
            size = int(max(true.max(), drawn.max())) + 1
            share = np.bincount(drawn[drawn >= 0], minlength=size) / len(drawn)
            found[name] = np.where(true >= 0, share[np.maximum(true, 0)], np.nan)
        return found

    def _frequent(self, truth: LonLat) -> dict[str, float]:
        """The accuracies of always naming what is most frequent in the training."""
        cells = self.locator.geocells
        counts = np.asarray(cells.count, dtype=np.float64)
        regions = np.bincount(np.asarray(cells.region), weights=counts, minlength=len(self.regions))
        n = len(truth)
        with np.errstate(divide="ignore"):
            # A little less for each later one: equal counts are one answer, not a tie.
            logs = [np.log(some) - 1e-9 * np.arange(len(some)) for some in (regions, counts)]
            logs[1] = logs[1] - np.log(regions)[np.asarray(cells.region)]
        return class_table(cells, truth, np.tile(logs[0], (n, 1)), np.tile(logs[1], (n, 1)))

    def _training_counts(self) -> NDArray[np.int64]:
        cells = self.locator.geocells
        return np.bincount(
            np.asarray(cells.region), weights=np.asarray(cells.count), minlength=len(self.regions)
        ).astype(np.int64)

    def _area_km2(self) -> float:
        return float(np.sum(self.regions.areas_m2)) / 1e6

    def _about(self, rows: NDArray[np.int64], blocks: int, drawn: int, rivals: Rivals | None) -> dict[str, Any]:
        rules = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self.rules).items()}
        density = None if rivals is None else rivals.density
        return {
            "placevec": __version__,
            "model": self.name,
            "weights_sha256": self.locator.card.weights_sha256,
            "photos": len(rows),
            "training_photos": len(self.parts.train),
            "blocks": blocks,
            "cells": self.cells,
            "buffer_m": self.parts.buffer_m,
            "area_km2": self._area_km2(),
            "regions": list(self.regions.names),
            "regions_drawn": drawn,
            "density": None if density is None else {"bandwidth_km": density.bandwidth_km, "floor": density.floor},
            "rules": rules,
        }


def headlines(found: GeolocationEvaluation) -> Sequence[str]:
    """Notes and headline, as a terminal shows them."""
    return (*found.notes, *found.headline())


__all__ = ["DECODERS", "ORACLE", "GeolocationEvaluation", "GeolocationRules", "evaluate_geolocation", "headlines"]
