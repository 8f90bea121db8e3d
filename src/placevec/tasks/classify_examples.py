"""`classify --examples`: a linear head on a few labelled rows gives all rows their class, and says what to ask next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.errors import DataError, UsageError
from placevec.geo.cells import parse_cells
from placevec.geo.sphere import LonLat
from placevec.measure.asking import ask_next, entropy, margin
from placevec.measure.calibration import expected_calibration_error
from placevec.measure.intervals import (
    Comparison,
    classification_draws,
    compare,
    group_codes,
    mean_sd,
    percentile_interval,
    resample_counts,
)
from placevec.measure.linear_head import Floats, Fold, LinearHead, Rows, Scaling, dealt_folds, fit_head
from placevec.measure.metrics import CLASSIFICATION, METRIC_NAMES
from placevec.measure.probe_report import comparison_words
from placevec.measure.splits import block_split, suggest_block
from placevec.provenance import Saw, inherit_saw
from placevec.results import Score, Scores
from placevec.table import EmbeddingTable, Filter, StoredTable, open_table, write_table
from placevec.tasks.example_labels import Labels, read_labels

COLUMNS = ("predicted", "predicted_score", "predicted_margin", "predicted_entropy", "ask")
HEAD = "linear head"
ENOUGH = 20
"""Labels that leave-block-out accuracy needs at least."""

_ROWS = 65_536
_FOLDS, _SHUFFLES = 5, 3
_SCALED_BY = 50_000


@dataclass(frozen=True, eq=False)
class ByExample:
    """What `classify_by_example` found.

    Attributes:
        table: the rows with the columns of `COLUMNS`, and `p_CLASS` for each class: the class, its probability, its
            lead over the second, the entropy of all (0 to 1), and as which row it is asked about, 1 first, or null.
        classes: names of the classes, sorted.
        counts: (c,) how many rows each class got.
        mean_scores: (c,) the mean probability of these rows; NaN for a class without rows.
        labelled: (c,) how many labels each class has.
        ask: rows to ask about next, the best first.
        head: the head on all labels.
        scores: leave-block-out accuracy and macro-F1 beside baselines; None where labels are too few.
        verdict: the accuracy against the best baseline, in words; "" without scores.
        notes: what a reader must know besides.
    """

    table: EmbeddingTable
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    mean_scores: NDArray[np.float64]
    labelled: NDArray[np.int64]
    ask: Rows
    head: LinearHead
    scores: Scores | None = None
    verdict: str = ""
    notes: tuple[str, ...] = ()


def classify_by_example(
    table: str | Path | EmbeddingTable | StoredTable,
    examples: str | Path | Labels,
    *,
    label: str = "class",
    out: str | Path | None = None,
    map_out: str | Path | None = None,
    ask: int = 10,
    block: str | None = None,
    buffer_m: float | None = None,
    filter: Filter | None = None,
    seed: int = 0,
) -> ByExample:
    """Give each row of a table a class, by a linear head that is fitted on a few labelled rows.

    The head is multinomial logistic regression; its strength is chosen by cross-validation among the labels, in whole
    spatial blocks where there are enough, and its temperature likewise. Accuracy is measured in blocks that the head,
    its strength and its temperature have not seen.

    Args:
        table: the table.
        examples: a file of labels, see `tasks.example_labels.read_labels`; or labels.
        label: the column of the classes in the file.
        out: where to write the table again, with the columns of `ByExample.table`. It tells that it was fitted on the
            column `label`: to evaluate it on these labels raises LeakError.
        map_out: a PNG of the classes on the map; of their entropy ``NAME-uncertainty.png`` beside it.
        ask: how many rows to ask about next.
        block: blocks for the accuracy, such as "h3:6"; by default from the variogram of the labels.
        buffer_m: labels nearer to a tested one do not train; by default the width of the footprint.
        filter: which rows; all by default.
        seed: of folds, resamples and samples.

    Raises:
        DataError: the table is empty, no label belongs to a row, or all are of one class.
        FormatError, SchemaError: the file of labels cannot be read, or lacks a column.
        UsageError: a name of a column is taken.
    """
    stored = open_table(table) if isinstance(table, str | Path) else table
    rows = stored.select(filter or Filter()) if isinstance(stored, EmbeddingTable) else stored.read(filter)
    if not len(rows):
        raise DataError("no row is left to be classified: the table is empty, or the filter lets nothing through")
    if ask < 0:
        raise UsageError(f"{ask} rows to ask about: give 0 or more")
    ground_m = float((rows.meta.chip_layout or {}).get("ground_m", 0.0))
    labels = examples if isinstance(examples, Labels) else read_labels(examples, rows, label, ground_m)
    names, y = np.unique(labels.classes.astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"all {len(labels):,} labels are of the class {str(names[0])!r}: give examples of two or more")
    taken = next((name for name in names.tolist() if f"p_{name}" in COLUMNS or rows.has(f"p_{name}")), None)
    if taken is not None:
        raise UsageError(f"the table has a column {f'p_{taken}'!r}, where the probability is to stand: rename it")
    notes = list(labels.notes)
    scaling = Scaling.of(rows.vectors(_spread(len(rows), _SCALED_BY)))
    x = scaling(rows.vectors(labels.rows))
    task = _Labelled(rows, labels, x, y.astype(np.int64), len(names), block, _buffer(buffer_m, ground_m), seed)
    head = fit_head(x, task.y, len(names), task.inner(np.arange(len(y))))
    scores, verdict, more = task.scores(names.tolist())
    notes += more
    if not head.calibrated:
        notes.append(f"probabilities are not calibrated: that needs {ENOUGH} labels, two or more of each class")
    probabilities = _predict(rows, scaling, head)
    said = probabilities.argmax(axis=1)
    unsure = entropy(probabilities)
    chosen, _ = ask_next(rows.vectors(), unsure, labels.rows, ask, seed)
    made = _with_columns(rows, names, said, probabilities, unsure, chosen)
    saw = Saw(labels.digest, labels.column)
    made = EmbeddingTable(made.data, rows.meta.replace(saw=inherit_saw(rows.meta.saw, (saw,))))
    counts = np.bincount(said, minlength=len(names))
    mean_scores = np.full(len(names), np.nan)
    top = probabilities[np.arange(len(said)), said]
    np.divide(np.bincount(said, weights=top, minlength=len(names)), counts, out=mean_scores, where=counts > 0)
    if out is not None:
        write_table(made, out)
    if map_out is not None:
        _maps(made, Path(map_out))
    labelled = np.bincount(y, minlength=len(names))
    return ByExample(
        made, tuple(names.tolist()), counts, mean_scores, labelled, chosen, head, scores, verdict, tuple(notes)
    )


class _Labelled:
    """The labelled rows, and how they are parted."""

    def __init__(
        self,
        rows: EmbeddingTable,
        labels: Labels,
        x: Floats,
        y: Rows,
        classes: int,
        block: str | None,
        buffer_m: float,
        seed: int,
    ) -> None:
        self.x, self.y, self.classes = x, y, classes
        self.block, self.buffer_m, self.seed = block, buffer_m, seed
        self.keys = rows.keys[labels.rows]
        located = bool(rows.located[labels.rows].all())
        self.lonlat: LonLat | None = rows.lonlat(labels.rows) if located else None
        if self.lonlat is not None and self.block is None:
            self.block = self._suggested()

    def inner(self, mine: Rows) -> list[Fold]:
        """Folds among some labelled rows, for the choice of strength: in blocks, else dealt by class; [] if neither."""
        if self.lonlat is not None and self.block is not None:
            try:
                split = block_split(self.lonlat[mine], self.block, 3, self.seed, self.buffer_m, self.keys[mine], "join")
                folds = list(split.pairs())
            except DataError:
                folds = []
            # A class that trains in no fold would choose the strength by its absence.
            if folds and all(len(np.unique(self.y[mine[train]])) == len(np.unique(self.y[mine])) for train, _ in folds):
                return folds
        return dealt_folds(self.y[mine], _FOLDS, self.seed)

    def scores(self, names: Sequence[str]) -> tuple[Scores | None, str, list[str]]:
        """Leave-block-out scores of the head and its baselines, the verdict, and what is to be said."""
        why = self._too_few(names)
        splits = []
        if not why:
            assert self.lonlat is not None
            assert self.block is not None
            try:
                for shuffle in range(_SHUFFLES):
                    split = block_split(
                        self.lonlat, self.block, _FOLDS, self.seed + shuffle, self.buffer_m, self.keys, "join"
                    )
                    splits.append([pair for pair in split.pairs() if len(pair[1])])
            except DataError as error:
                why = str(error)
        if why:
            return None, "", [f"accuracy was not measured: {why}"]
        return (*self._scored(splits), [])

    def _too_few(self, names: Sequence[str]) -> str:
        if len(self.y) < ENOUGH:
            return f"{len(self.y)} labels, and {ENOUGH} are needed at least"
        if self.lonlat is None or self.block is None:
            return "labelled rows without a geometry lie in no block"
        blocks = parse_cells(self.block).assign(self.lonlat)
        for code, name in enumerate(names):
            if len(np.unique(blocks[self.y == code])) < 2:
                return f"all labels of {name!r} lie in one block of {self.block}: give some elsewhere, or finer blocks"
        return ""

    def _suggested(self) -> str | None:
        assert self.lonlat is not None
        try:
            return f"h3:{suggest_block(self.lonlat, self.y.astype(str), k=_FOLDS, seed=self.seed)[0]}"
        except DataError:
            return None

    def _scored(self, splits: Sequence[Sequence[Fold]]) -> tuple[Scores, str]:
        assert self.lonlat is not None
        assert self.block is not None
        n = len(self.y)
        names = (HEAD, "majority class", "nearest label")
        guesses = {name: np.full((len(splits), n), -1, dtype=np.int64) for name in names}
        sure = np.full((len(splits), n), np.nan)
        for shuffle, folds in enumerate(splits):
            for train, test in folds:
                share = np.bincount(self.y[train], minlength=self.classes)
                guesses["majority class"][shuffle, test] = share.argmax()
                guesses["nearest label"][shuffle, test] = self.y[train][self._nearest(train, test)]
                if np.count_nonzero(share) < 2:
                    guesses[HEAD][shuffle, test], sure[shuffle, test] = share.argmax(), 1.0
                    continue
                head = fit_head(self.x[train], self.y[train], self.classes, self.inner(train))
                said = head.probabilities(self.x[test])
                guesses[HEAD][shuffle, test], sure[shuffle, test] = said.argmax(axis=1), said.max(axis=1)
        codes = group_codes(parse_cells(self.block).assign(self.lonlat), n)
        counts = resample_counts(int(codes.max()) + 1, seed=self.seed)
        drawn = {name: classification_draws(self.y, guess, counts, codes) for name, guess in guesses.items()}
        records, per = [], {}
        for metric in ("accuracy", "macro_f1"):
            for name, guess in guesses.items():
                values = [CLASSIFICATION[metric](self.y[g >= 0], g[g >= 0]) for g in guess]
                per[name, metric] = values
                mean, sd = mean_sd(values)
                low, high = percentile_interval(drawn[name][metric].mean(axis=0))
                records.append(
                    Score("class", name, "block", METRIC_NAMES[metric], mean, low, high, sd, n, learned=name == HEAD)
                )
        tested = guesses[HEAD] >= 0
        right = (guesses[HEAD] == self.y)[tested]
        error = expected_calibration_error(sure[tested], right)
        records.append(Score("class", HEAD, "block", "calibration error", error, n=n, learned=True))
        rival = max(("majority class", "nearest label"), key=lambda name: np.mean(per[name, "accuracy"]))
        against: Comparison = compare(
            per[HEAD, "accuracy"],
            per[rival, "accuracy"],
            drawn[HEAD]["accuracy"],
            drawn[rival]["accuracy"],
            "accuracy",
        )
        about = {"block": self.block, "buffer_m": self.buffer_m, "folds": _FOLDS, "shuffles": _SHUFFLES}
        return Scores(tuple(records), about), comparison_words(rival, against)

    def _nearest(self, train: Rows, test: Rows) -> Rows:
        """For each tested row, which of the training rows lies nearest on the ground."""
        assert self.lonlat is not None
        return np.asarray(cKDTree(self.lonlat[train].unit()).query(self.lonlat[test].unit(), k=1)[1], dtype=np.int64)


def _predict(rows: EmbeddingTable, scaling: Scaling, head: LinearHead) -> Floats:
    parts = []
    for start in range(0, len(rows), _ROWS):
        part = np.arange(start, min(start + _ROWS, len(rows)))
        parts.append(head.probabilities(scaling(rows.vectors(part))))
    return np.concatenate(parts)


def _with_columns(
    rows: EmbeddingTable, names: NDArray[Any], said: Rows, probabilities: Floats, unsure: Floats, chosen: Rows
) -> EmbeddingTable:
    order = np.full(len(rows), -1, dtype=np.int64)
    order[chosen] = np.arange(1, len(chosen) + 1)
    top = probabilities[np.arange(len(said)), said]
    values: tuple[Any, ...] = (
        pa.array(names[said].tolist(), pa.string()),
        top,
        margin(probabilities),
        unsure,
        pa.array(order, mask=order < 0),
    )
    made = rows
    for name, column in zip(COLUMNS, values, strict=True):
        made = made.with_column(name, column)
    for code, name in enumerate(names.tolist()):
        made = made.with_column(f"p_{name}", np.ascontiguousarray(probabilities[:, code]))
    return made


def _maps(made: EmbeddingTable, out: Path) -> None:
    from placevec.tasks.map import map_tables

    map_tables([made], out, by="predicted", title="Classes by example", geotiff=False)
    beside = out.with_name(f"{out.stem}-uncertainty{out.suffix}")
    map_tables([made], beside, by="predicted_entropy", title="Uncertainty of the classes", geotiff=False)


def _buffer(given: float | None, ground_m: float) -> float:
    if given is not None and not (np.isfinite(given) and given >= 0):
        raise UsageError(f"the buffer is {given} m; give a finite number >= 0")
    return ground_m if given is None else given


def _spread(n: int, most: int) -> Rows:
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


__all__ = ["COLUMNS", "ByExample", "classify_by_example"]
