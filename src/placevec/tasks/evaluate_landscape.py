"""`evaluate landscape`: what representations of patches know of the landscape, beside signatures that learn nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec import __version__
from placevec.errors import DataError, LeakError, UsageError
from placevec.files import write_text
from placevec.geo.cells import H3Cells, parse_cells
from placevec.geo.sphere import LonLat
from placevec.measure.intervals import DRAWS
from placevec.measure.leaks import refuse_leaks, seen_rows
from placevec.measure.neighbour_report import NeighbourRow, Role, neighbour_rows
from placevec.measure.neighbours import Nearness, Pairs, apart, place_pairs, rank_neighbours
from placevec.measure.probe_report import ProbeReport
from placevec.measure.probes import probe
from placevec.table import Filter, Places, filter_of
from placevec.tasks.evaluate_landscape_inputs import Landscape, Progress, Representation, Target, read_landscape
from placevec.tasks.evaluate_landscape_result import LandscapeEvaluation

CHANCE = "chance"
PLACE = "place"
"""The label of neighbour retrieval: which rows are of one place. An encoder that was trained on pairs has seen it."""

_FEW_BLOCKS = 10


@dataclass(frozen=True)
class LandscapeRules:
    """How it is measured."""

    block: str | None = None  # such as "h3:6"; None: the finest H3 cells with edges no shorter than the next two
    buffer_m: float | None = None  # around test rows of probes; None: the diagonal of the footprint
    exclude_m: float | None = None  # candidates nearer to an anchor are no answer; None: the diagonal of the footprint
    where: str | None = None  # which anchors are tested, such as "split == 'test'"
    unseen: bool = False  # only pairs that nothing was trained on, instead of a LeakError
    pairs: int = 5000  # at most so many pairs are tested, at random
    limit: int = 3000  # at most so many rows are probed, at random
    estimators: tuple[str, ...] = ("ridge", "knn")
    splits: tuple[str, ...] = ("block",)
    k: int = 5  # folds
    shuffles: int = 3  # repetitions with other folds
    draws: int = DRAWS  # bootstrap resamples
    seed: int = 0


def evaluate_landscape(
    tables: Any = (),
    *,
    untrained: Any = (),
    masked: Any = (),
    untrained_masked: Any = (),
    patches: Any = None,
    targets: Sequence[str] | None = None,
    signature_layers: Sequence[str] | None = None,
    neighbours: int = 4,
    mask_pixels: int | None = None,
    rules: LandscapeRules | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> LandscapeEvaluation:
    """Measure representations of patches by what lies near and by what they were not shown.

    Neighbour retrieval, where the rows are pairs (a `place` each): for each anchor, the neighbours of all are ranked.
    Probes: ridge and kNN under spatial blocks, on the same folds for all. The baselines are signatures of the patches
    (class fractions and co-occurrence, also by the exact Jensen-Shannon distance), untrained networks, chance, and for
    probes those of every probe. What loses to one is said to lose.

    Args:
        tables: learned vectors of the patches: tables or paths by name, or ``NAME=PATH`` texts. A table of signatures
            counts as a baseline.
        untrained: the same of untrained networks.
        masked: the same models on the same patches with their centres masked (`features.signatures.MaskedCentre`), by
            the names of `tables`.
        untrained_masked: likewise, of the untrained ones.
        patches: a patch set, or a source of patches: signatures and targets are computed from it, from layers that the
            tables need not have seen.
        targets: ``LAYER:mean``, ``LAYER:sd`` or ``LAYER:range`` of values within the footprint (sd and range are its
            relief), ``LAYER:centre`` (the most frequent class of the masked square), or columns. By default mean and
            sd of each layer of values, and the centres of classes where there are masked tables.
        signature_layers: layers that signatures count; by default those of classes. Give what the encoder reads.
        neighbours: of a pixel in co-occurrence, 4 or 8.
        mask_pixels: side of the masked square; by default a quarter of the patch's.
        rules: blocks, buffer, limits and the like.
        out: a JSON file; a Markdown file of the same name stands beside it.
        progress: called with a label, steps done and steps in all.

    Raises:
        LeakError: something was fitted on the pairs or labels that are tested.
        UsageError: nothing to compare, an option that does not exist, a buffer narrower than the footprint.
        SchemaError: no row in common.
        DataError: neither pairs nor a target that could be measured.
    """
    given = rules or LandscapeRules()
    if out is not None and Path(out).suffix != ".json":
        raise UsageError(f"{out}: name the output NAME.json; the Markdown file stands beside it")
    land = read_landscape(
        tables,
        untrained=untrained,
        masked=masked,
        untrained_masked=untrained_masked,
        patches=patches,
        targets=targets,
        signature_layers=signature_layers,
        neighbours=neighbours,
        mask_pixels=mask_pixels,
        progress=progress,
    )
    run = _Run(land, given)
    rows = run.retrieval(progress)
    reports = run.probes(progress)
    if not rows and not reports:
        raise DataError(f"nothing could be measured: {'; '.join(run.notes) or 'no pairs and no targets'}")
    found = LandscapeEvaluation(rows, tuple(reports), tuple(run.notes), run.about())
    if out is not None:
        write_text(Path(out), found.to_json())
        write_text(Path(out).with_suffix(".md"), found.markdown())
    return found


class _Run:
    """What retrieval and probes share: rows, blocks and notes."""

    def __init__(self, land: Landscape, rules: LandscapeRules) -> None:
        self.land, self.rules = land, rules
        self.notes = list(land.notes)
        self.lonlat: LonLat = land.places.lonlat()
        # Squares share ground up to the distance of their diagonal, not of their side.
        diagonal = math.sqrt(2.0) * land.ground_m
        self.exclude_m = diagonal if rules.exclude_m is None else rules.exclude_m
        self.buffer_m = diagonal if rules.buffer_m is None else rules.buffer_m
        for name, metres in (("buffer", self.buffer_m), ("exclusion", self.exclude_m)):
            if land.ground_m <= metres < diagonal * (1 - 1e-9):
                self._note(
                    f"the {name} of {metres:g} m is shorter than the diagonal of the footprint, {diagonal:.0f} m: "
                    "corners of squares may be shared"
                )
            if metres < land.ground_m:
                raise UsageError(
                    f"the {name} of {metres:g} m is narrower than the footprint, {land.ground_m:g} m: test rows would "
                    "share pixels with others; leave it out, or give at least the footprint"
                )
        if not land.ground_m:
            self._note("no table tells its footprint: nothing is left out as overlapping unless a buffer is given")
        self.block = rules.block or _block(max(self.exclude_m, self.buffer_m))
        self._pairs: dict[str, Any] = {}

    def retrieval(self, progress: Progress | None) -> tuple[NeighbourRow, ...]:
        """Neighbour retrieval by every representation; () where there are no pairs."""
        places = self.land.places
        try:
            pairs = place_pairs(places.keys, places.ids)
        except DataError:
            self._note("no two rows share a `place`: neighbour retrieval is left out")
            return ()
        every = len(pairs)
        pairs = self._tested(pairs)
        near_enough = apart(pairs, self.lonlat, self.exclude_m)
        if not near_enough.all():
            lost = int((~near_enough).sum())
            self._note(f"{lost:,} pairs lie nearer than {self.exclude_m:g} m and share pixels: left out")
            pairs = pairs.take(np.flatnonzero(near_enough))
        if len(pairs) > self.rules.pairs:
            chosen = np.random.default_rng(self.rules.seed).choice(len(pairs), self.rules.pairs, replace=False)
            pairs = pairs.take(np.sort(chosen))
        if len(pairs) < 2:
            raise DataError(f"{len(pairs)} of {every:,} pairs are left to be tested; give more, or a wider test area")
        near: dict[str, Nearness] = {}
        roles: dict[str, Role] = {CHANCE: "chance"}
        for one in self.land.whole:
            for name, nearness in one.nearness().items():
                near[name], roles[name] = nearness, one.kind
        standings, chance = rank_neighbours(pairs, self.lonlat, near, self.exclude_m, progress)
        blocks = parse_cells(self.block).assign(self.lonlat[pairs.anchors])
        count = len(np.unique(blocks))
        if count < _FEW_BLOCKS:
            self._note(f"the anchors lie in {count} blocks of {self.block}: intervals of so few blocks say little")
        self._pairs = {
            "pairs": len(pairs),
            "pairs_given": every,
            "candidates": len(np.unique(pairs.neighbours)),
            "blocks": count,
            "exclude_m": self.exclude_m,
        }
        return neighbour_rows(
            {CHANCE: chance, **standings}, roles, blocks, draws=self.rules.draws, seed=self.rules.seed
        )

    def probes(self, progress: Progress | None) -> list[ProbeReport]:
        """One report for each target that can be probed."""
        reports = []
        rows = self._probed_rows()
        for target in self.land.targets:
            compared = self.land.masked if target.masked else self.land.whole
            try:
                reports.append(self._probe(target, compared, rows, progress))
            except DataError as error:
                self._note(f"{target.name} was not probed: {error}")
            except (LeakError, UsageError) as error:
                raise type(error)(f"the target {target.name!r}: {error}") from error
        return reports

    def about(self) -> dict[str, Any]:
        """The settings, as JSON."""
        settings = {**vars(self.rules), "block": self.block, "buffer_m": self.buffer_m, "exclude_m": self.exclude_m}
        return {
            "placevec": __version__,
            "rows": len(self.land.places),
            "ground_m": self.land.ground_m,
            "representations": [{"name": one.label, "kind": one.kind} for one in self.land.whole],
            "retrieval": self._pairs,
            "rules": {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()},
            **self.land.about,
        }

    def _tested(self, pairs: Pairs) -> Pairs:
        """The pairs that are asked for, and that nothing was trained on."""
        places = self.land.places
        if self.rules.where:
            wanted = filter_of(where=self.rules.where) or Filter()
            pairs = pairs.take(np.flatnonzero(wanted.mask(places)[pairs.anchors]))
        for one in self.land.whole:
            seen = seen_rows(one.saw, PLACE, self.lonlat, places.keys, len(places))
            if self.rules.unseen:
                pairs = pairs.take(np.flatnonzero(~(seen[pairs.anchors] | seen[pairs.neighbours])))
            else:
                both = np.unique(np.concatenate([pairs.anchors, pairs.neighbours]))
                refuse_leaks(one.name, one.saw, PLACE, self.lonlat, places.keys, both)
        return pairs

    def _probed_rows(self) -> NDArray[np.int64]:
        """One row of each place, at most as many as are asked for."""
        rows = _first_of_each(self.land.places)
        if len(rows) > self.rules.limit:
            chosen = np.random.default_rng(self.rules.seed).choice(len(rows), self.rules.limit, replace=False)
            rows = rows[np.sort(chosen)]
        return rows

    def _probe(
        self,
        target: Target,
        compared: Sequence[Representation],
        rows: NDArray[np.int64],
        progress: Progress | None,
    ) -> ProbeReport:
        places = self.land.places
        lonlat = self.lonlat[rows]
        for one in compared:
            for column in target.columns:
                refuse_leaks(one.name, one.saw, column, lonlat, places.keys[rows], count=len(rows))
        vectors = {
            kind: {one.name: one.vectors[rows] for one in compared if one.kind == kind}
            for kind in ("learned", "untrained", "fixed")
        }
        return probe(
            vectors["learned"],
            lonlat,
            np.asarray(target.values)[rows],
            target=target.name,
            splits=self.rules.splits,
            k=self.rules.k,
            shuffles=self.rules.shuffles,
            block=self.block,
            buffer_m=self.buffer_m,
            untrained=vectors["untrained"],
            fixed=vectors["fixed"],
            estimators=self.rules.estimators,
            resample="blocks",
            draws=self.rules.draws,
            seed=self.rules.seed,
            versus=[one.label for one in compared if one.kind != "learned"],
            progress=None if progress is None else _told(progress, target.name),
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _told(progress: Progress, target: str) -> Progress:
    return lambda label, done, total: progress(f"{target}, {label}", done, total)


def _first_of_each(places: Places) -> NDArray[np.int64]:
    order = np.argsort(places.ids.astype(str), kind="stable")
    _, first = np.unique(places.keys.astype(str)[order], return_index=True)
    return np.sort(order[first]).astype(np.int64)


def _block(metres: float) -> str:
    """The finest H3 cells with edges no shorter than `metres`."""
    fine = [resolution for resolution in range(16) if H3Cells(resolution).edge_m >= metres]
    return f"h3:{max(fine, default=0)}"


__all__ = ["LandscapeEvaluation", "LandscapeRules", "evaluate_landscape"]
