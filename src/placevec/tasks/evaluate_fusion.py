"""`evaluate fusion`: fused vectors beside every modality, every plain fusion and every baseline, on the same folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec import __version__
from placevec.errors import DataError, LeakError, SchemaError, UsageError
from placevec.measure.fusion.blocks import Block
from placevec.measure.fusion.fold_tables import FoldTable
from placevec.measure.fusion.protocol import measure_fusions
from placevec.measure.fusion.reference_report import reference_report
from placevec.measure.fusion.rings import spacing_m
from placevec.provenance import digest_json
from placevec.table import Places
from placevec.tasks.evaluate import Evaluation, Finished, Report, digest_arrays
from placevec.tasks.evaluate_fusion_inputs import (
    CellTable,
    cell_tables,
    cell_targets,
    cells_of,
    centres,
    common_resolution,
    fused_tables,
)
from placevec.tasks.evaluate_fusion_rows import BEST_INSIDE, INSIDE, PlainRows, fusion_rows, plain_rows
from placevec.tasks.evaluate_fusion_rules import FusionProtocol
from placevec.tasks.evaluate_fusion_words import with_words

# The target, the row of features, steps done and steps in all.
Progress = Callable[[str, str, int, int], None]

VERSUS = ("concat", "ring-stack:1", INSIDE, BEST_INSIDE)
"""Rows with which every learned row is compared, whichever baseline is the best."""


def evaluate_fusion(
    modalities: Sequence[Any] | Mapping[str, Any],
    targets: Any,
    target: Sequence[str] | str,
    *,
    fused: Sequence[Any] | Mapping[str, Any] = (),
    untrained: Sequence[Any] | Mapping[str, Any] = (),
    rules: FusionProtocol | None = None,
    out: str | Path | None = None,
    html: bool = True,
    restart: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure fused vectors on targets, each beside all baselines that cost nothing, on the same folds.

    A table that knows a target (it holds the column, or its footer says that its maker saw the labels) takes no part
    in that target's rows, which the report says; if no table of its kind remains, that is a leak, and an error.

    Args:
        modalities: tables of cells, or their paths; ``NAME=`` may stand before each, or give a mapping.
        targets: a file of targets by cell, or Places.
        target: the columns to predict, numbers.
        fused: learned tables likewise; or the folder of tables that were fitted on labels fold by fold
            (``fold-0.parquet`` …), each judged on the fold that it has not seen.
        untrained: tables of untrained networks of the same shape.
        rules: how to measure.
        out: a JSON file; a Markdown file and an HTML page stand beside it, and finished targets in a folder.
        html: whether to write the HTML page, which needs matplotlib.
        restart: forget finished targets.
        progress: told of each step.

    Raises:
        LeakError: all modalities, or all fused tables, know a target.
        UsageError: no modality, no target, or one that is no column of numbers.
        SchemaError: rows that are no H3 cells, tables of several resolutions, or without cells in common.
        DataError: none of the targets has values at enough cells.
    """
    used = rules or FusionProtocol()
    wanted = [target] if isinstance(target, str) else list(target)
    if not wanted:
        raise UsageError("no target: name a column of the targets, such as --target population")
    twice = next((name for name in wanted if wanted.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"the target {twice!r} is named twice")
    odd = next((name for name in used.log1p if name not in wanted), None)
    if odd is not None:
        raise UsageError(f"--log1p {odd}: no target is called so; there are {', '.join(wanted)}")
    if out is not None and Path(out).suffix != ".json":
        raise UsageError(f"{out}: name the output NAME.json; the Markdown and the HTML page stand beside it")
    run = _Run(modalities, targets, fused, untrained, used)
    for name in wanted:
        run.values(name)
    store = None if out is None else Finished(Path(out).with_suffix(".targets"))
    reports: list[Report] = []
    skipped: dict[str, str] = {}
    resumed = 0
    for place, name in enumerate(wanted):
        at = run.rows(name)
        if len(at) < used.min_cells:
            skipped[name] = f"{len(at)} cells have a value, fewer than {used.min_cells}"
            continue
        key = run.key(name, at)
        report = None if store is None or restart else store.read(name, key)
        if report is None:
            told = None if progress is None else _told(progress, f"{name} ({place + 1} of {len(wanted)})")
            try:
                report = run.report(name, at, told)
            except (DataError, LeakError) as error:
                raise type(error)(f"the target {name!r}: {error}") from error
            if store is not None:
                store.write(name, key, report)
        else:
            resumed += 1
        reports.append(report)
    if not reports:
        raise DataError(f"no target could be evaluated ({'; '.join(f'{a}: {b}' for a, b in skipped.items())})")
    found = Evaluation(tuple(reports), skipped, tuple(run.notes), run.about(wanted), resumed)
    if out is not None:
        from placevec.tasks.evaluate_fusion_page import write_fusions

        write_fusions(found, out, html=html)
    return found


class _Run:
    """What all targets share."""

    def __init__(self, modalities: Any, targets: Any, fused: Any, untrained: Any, rules: FusionProtocol) -> None:
        self.rules = rules
        self.modalities = cell_tables(modalities)
        if not self.modalities:
            raise UsageError("no modality: give --modality NAME=TABLE, once for each")
        self.fused, self.folded = fused_tables(fused)
        self.untrained = cell_tables(untrained)
        self.targets: Places = cell_targets(targets)
        folds = [table for tables in self.folded.values() for table in tables]
        self.learned = [*self.fused.values(), *folds, *self.untrained.values()]
        self.resolution = common_resolution([*self.modalities.values(), *self.learned])
        # All cells of which any modality knows anything: rings reach over cells without a target too.
        self.cells = np.unique(np.concatenate([table.cells for table in self.modalities.values()]))
        self.lonlat = centres(self.cells, self.resolution)
        self.keys = self.cells.astype(str)
        self.measured = rules.rules(self.resolution)
        self.notes: list[str] = []
        listed = CellTable("targets", cells_of(self.targets, "targets"), np.zeros((len(self.targets), 0), np.float32))
        if common_resolution([listed]) != self.resolution:
            raise SchemaError(
                f"targets are of resolution {common_resolution([listed])}, the tables of {self.resolution}: bring them "
                "to one with `placevec area targets`"
            )
        self.at_targets = listed.rows_of(self.cells)
        outside = len(self.targets) - int((self.at_targets >= 0).sum())
        if outside == len(self.targets):
            raise SchemaError("the tables and the targets have no cell in common")
        if outside:
            self._note(f"{outside:,} cells with targets are in no modality, and were left out")
        self._say_reach()
        self._plain = lru_cache(maxsize=1)(self._made)

    def values(self, name: str) -> NDArray[np.float64]:
        """A target (m,) at the cells of the area; NaN where there is none.

        Raises:
            UsageError: it is no column, or holds no numbers.
        """
        if not self.targets.has(name):
            known = ", ".join(self.targets.attributes) or "none"
            raise UsageError(f"the targets have no column {name!r}; there are: {known}")
        column = self.targets.column(name)
        try:
            numbers = np.array([np.nan if v is None else float(v) for v in column.tolist()], dtype=np.float64)
        except (TypeError, ValueError):
            raise UsageError(f"the target {name!r} holds {column[0]!r}, which is no number") from None
        found = np.where(self.at_targets >= 0, numbers[np.maximum(self.at_targets, 0)], np.nan)
        if self.rules.transform(name) and (found <= -1.0).any():
            raise UsageError(f"{name} reaches {np.nanmin(found):g}, and log1p needs more than −1; do not transform it")
        return np.log1p(found) if self.rules.transform(name) else found

    def rows(self, name: str) -> NDArray[np.int64]:
        """The rows (n,) of the area's cells that are measured: those with a value, that all learned tables hold."""
        held = np.isfinite(self.values(name))
        there = held.copy()
        for table in self.learned:
            there &= table.rows_of(self.cells) >= 0
        if there.sum() < held.sum():
            self._note(f"{name}: {int(held.sum() - there.sum()):,} cells are not in all learned tables, and left out")
        at = np.flatnonzero(there)
        if self.rules.limit and len(at) > self.rules.limit:
            at = np.sort(np.random.default_rng(self.rules.seed).choice(at, self.rules.limit, replace=False))
        return at

    def key(self, name: str, at: NDArray[np.int64]) -> str:
        """The digest of all that the report of a target is made from."""
        tables = [[table.name, table.fingerprint] for table in (*self.modalities.values(), *self.learned)]
        data = digest_arrays([self.cells[at], self.values(name)[at]])
        return digest_json([__version__, name, tables, data, self.rules.settings(), sorted(self.folded)])

    def report(
        self, name: str, at: NDArray[np.int64], progress: Callable[[str, int, int], None] | None
    ) -> dict[str, Any]:
        """The report of one target as JSON."""
        y, lonlat, cells = self.values(name)[at], self.lonlat[at], self.cells[at]
        if (y == y[0]).all():
            raise DataError(f"it is {y[0]:g} in all {len(y)} cells; there is nothing to predict")
        said: list[str] = []
        modalities = self._blind(name, at, self.modalities, "modality", said)
        fused = self._blind(name, at, self.fused, "fused table", said, others=len(self.folded))
        untrained = self._blind(name, at, self.untrained, "untrained table", said, others=1)
        folded = {}
        for label, tables in self.folded.items():
            if any(table.knows(name) for table in tables):
                if not fused:
                    raise LeakError(f"the fold tables {label!r} hold the target, or were made with all its labels")
                said.append(f"the fold tables {label} know the target and were left out")
            else:
                folded[label] = [FoldTable(f"{label}/{t.name}", self._vectors(t, at), t.saw) for t in tables]
        nested = self.rules.protocol == "nested"
        if folded and (not nested or self.measured.splits == ("random",)):
            said.append(f"fold tables ({', '.join(folded)}) are judged by the block folds of the nested protocol alone")
            folded = {}
        made = self._plain(tuple(modalities))
        vectors = {label: self._vectors(table, at) for label, table in fused.items()}
        idle = {label: self._vectors(table, at) for label, table in untrained.items()}
        rows = fusion_rows(made, at, vectors, folded, idle, nested=nested, knn=self.rules.knn and nested)
        transform = self.rules.transform(name)
        missing = int((self.at_targets >= 0).sum()) - len(at)
        if nested:
            probed = measure_fusions(
                rows,
                lonlat,
                y,
                self.keys[at],
                self.measured,
                target=name,
                transform=transform,
                n_missing=missing,
                versus=(*VERSUS, *(f"untrained {label}" for label in idle)),
                progress=progress,
            )
        else:
            probed = reference_report(
                rows,
                cells,
                lonlat,
                y,
                target=name,
                transform=transform,
                n_missing=missing,
                shuffles=self.rules.shuffles,
                progress=progress,
            )
        return {
            "source": f"{len(y):,} cells of H3 resolution {self.resolution}",
            "own_places": False,
            "modalities": list(modalities),
            "said": said,
            "drop_one": self._dropped(name, made, at, y) if self.rules.drop_one and nested else [],
            **with_words(probed),
        }

    def about(self, targets: Sequence[str]) -> dict[str, Any]:
        """The settings, as JSON."""
        tables = (*self.modalities.values(), *self.fused.values(), *self.untrained.values())
        return {
            "placevec": __version__,
            "resolution": self.resolution,
            "cells": len(self.cells),
            "modalities": {name: table.vectors.shape[1] for name, table in self.modalities.items()},
            "tables": {table.name: table.fingerprint for table in tables}
            | {f"{name}/{table.name}": table.fingerprint for name, folds in self.folded.items() for table in folds},
            "targets": list(targets),
            "protocol": {
                **self.rules.settings(),
                "block": self.measured.block,
                "buffer_m": self.measured.buffer_m if self.rules.protocol == "nested" else 0.0,
            },
        }

    def _blind(
        self,
        target: str,
        at: NDArray[np.int64],
        tables: Mapping[str, CellTable],
        kind: str,
        said: list[str],
        others: int = 0,
    ) -> dict[str, CellTable]:
        """The tables that do not know a target; LeakError if there were some, and none is left."""
        keys, lonlat = self.keys[at], self.lonlat[at]
        blind = {label: table for label, table in tables.items() if not table.has_seen(target, lonlat, keys)}
        if tables and not blind and not others:
            raise LeakError(
                f"every {kind} ({', '.join(tables)}) holds the target, or was fitted on its labels: give one that does "
                "not, or one table for each fold"
            )
        knowing = [label for label in tables if label not in blind]
        if knowing:
            know, was = ("knows", "was") if len(knowing) == 1 else ("know", "were")
            said.append(f"{', '.join(knowing)} ({kind}) {know} the target and {was} left out: it would predict itself")
        return blind

    def _made(self, names: tuple[str, ...]) -> PlainRows:
        blocks = {}
        for name in names:
            table = self.modalities[name]
            rows = table.rows_of(self.cells)
            blocks[name] = Block(table.vectors[np.maximum(rows, 0)], rows >= 0, table.columns)
        return plain_rows(blocks, self.cells, self.lonlat, self.rules.rings, self.rules.seed)

    def _vectors(self, table: CellTable, at: NDArray[np.int64]) -> NDArray[np.float32]:
        return table.vectors[table.rows_of(self.cells[at])]

    def _dropped(
        self, target: str, made: PlainRows, at: NDArray[np.int64], y: NDArray[np.float64]
    ) -> list[dict[str, Any]]:
        """What each modality adds to the others, by the same blocks and buffer; nothing where there is only one."""
        from placevec.measure.dropout import drop_one

        if len(made.modalities) < 2:
            return []
        rules = self.measured
        return drop_one(
            {name: values[at] for name, values in made.modalities.items()},
            self.lonlat[at],
            y,
            target=target,
            splits=rules.splits,
            block=rules.block,
            buffer_m=rules.buffer_m,
            k=rules.k,
            shuffles=rules.shuffles,
            resample=rules.resample,
            draws=rules.draws,
            seed=rules.seed,
        )

    def _say_reach(self) -> None:
        if self.rules.protocol == "reference":
            self._note("The reference protocol keeps no buffer: blocks touch, and its figures flatter.")
            return
        buffer_m, apart = self.measured.buffer_m, spacing_m(self.resolution)
        chosen = "as given" if self.rules.buffer_m is not None else "two spacings of the cells"
        self._note(f"One buffer for all rows: {buffer_m:.0f} m ({chosen}; cells are {apart:.0f} m apart).")
        far = [table.name for table in (*self.modalities.values(), *self.learned) if table.ground_m > buffer_m + 1.0]
        rings = int((buffer_m + 1.0) // apart)
        if self.rules.rings > rings:
            far.append(f"ring means of more than {rings} rings")
        if far:
            self._note(
                f"These look further than the buffer, so that their features of training and test rows overlap "
                f"(never their labels): {', '.join(dict.fromkeys(far))}. --buffer makes it wider."
            )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _told(progress: Progress, target: str) -> Callable[[str, int, int], None]:
    return lambda label, done, total: progress(target, label, done, total)


__all__ = ["FusionProtocol", "evaluate_fusion"]
