"""Vectors that were fitted on labels fold by fold: each is judged only where its maker has seen no label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, LeakError
from placevec.geo.cells import parse_cells
from placevec.geo.sphere import LonLat
from placevec.measure.fusion.choose import fusion_ridge
from placevec.measure.nested import Fit, Floats, Folds
from placevec.measure.splits import Split, seen
from placevec.provenance import Saw, digest_json


@dataclass(frozen=True, eq=False)
class FoldTable:
    """One table of several, made by a fuser that saw the labels of some folds.

    Attributes:
        source: where it stands, for messages.
        vectors: (n, d) at the cells that are measured.
        saw: labels that it saw.
    """

    source: str
    vectors: NDArray[np.floating]
    saw: tuple[Saw, ...]

    @property
    def specs(self) -> tuple[Mapping[str, Any], ...]:
        """The splits by which labels were shown, each once."""
        found = {digest_json(dict(one.split)): one.split for one in self.saw if one.split}
        return tuple(found.values())

    def seen_rows(self, lonlat: LonLat, keys: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows (n,) showed it any label; a label shown without a split is looked for by `refuse_leaks`."""
        mask = np.zeros(len(lonlat), dtype=bool)
        for one in self.saw:
            if one.split:
                mask |= seen(one.split, one.folds, lonlat, keys)
        return mask


def block_specs(tables: Sequence[FoldTable]) -> list[Mapping[str, Any]]:
    """The splits into blocks by which tables were made, each once, by their seeds.

    Raises:
        LeakError: one goes by no blocks, so that no block split can keep its labels apart.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for table in tables:
        if not table.specs:
            raise LeakError(
                f"{table.source} does not say which folds its maker saw: fit it fold by fold, with `saw` in its "
                "footer, or give it as one table if it saw no label"
            )
        for spec in table.specs:
            if spec.get("rule") != "block":
                raise LeakError(
                    f"{table.source} was fitted on {spec.get('rule', 'unknown')} folds, which no block split keeps "
                    "apart: fit it on spatial blocks"
                )
            found[digest_json(dict(spec))] = spec
    return sorted(found.values(), key=lambda spec: int(spec.get("seed", 0)))


def split_of(spec: Mapping[str, Any], lonlat: LonLat, buffer_m: float) -> Split:
    """The split into blocks that a spec describes, for rows where they are; blocks that it never met are in no fold.

    Raises:
        LeakError: the spec keeps a narrower buffer than is asked for: labels within it were shown.
        DataError: a fold has no row.
    """
    if float(spec.get("buffer_m", 0.0)) + 1e-6 < buffer_m:
        raise LeakError(
            f"a fuser saw labels up to {float(spec.get('buffer_m', 0.0)):g} m from test rows, and the buffer is "
            f"{buffer_m:g} m: fit it with --buffer {buffer_m:g}m, or evaluate with its own buffer"
        )
    fold_of = {int(block, 16): int(fold) for block, fold in spec["blocks"].items()}
    blocks, own = np.unique(parse_cells(spec["cells"]).assign(lonlat), return_inverse=True)
    fold = np.array([fold_of.get(int(block), -1) for block in blocks], dtype=np.int64)[own]
    k = int(spec["k"])
    empty = np.setdiff1d(np.arange(k), fold)
    if len(empty):
        raise DataError(f"no measured cell lies in fold {empty[0]} of a fuser's split; it was fitted elsewhere")
    return Split(fold, k, dict(spec), buffer_m, lonlat)


def seen_folds(
    tables: Sequence[FoldTable], folds: Folds, lonlat: LonLat, keys: NDArray[Any]
) -> tuple[tuple[int, ...], list[NDArray[np.bool_]]]:
    """The folds of which each of `tables` saw a label, so that none can be judged there; and the rows that each saw."""
    shown = [table.seen_rows(lonlat, keys) for table in tables]
    lacking = tuple(
        fold for fold, test in enumerate(folds.tests) if not any(m.any() and not m[test].any() for m in shown)
    )
    return lacking, shown


def fold_fit(
    tables: Sequence[FoldTable],
    y: Floats,
    folds: Folds,
    lonlat: LonLat,
    keys: NDArray[Any],
    extra: NDArray[np.floating] | None = None,
) -> Fit | None:
    """Each fold's rows predicted from the table whose maker saw none of their labels; None if a fold has no such table.

    Of several tables the one that saw most counts. Ridge chooses its penalty inside the training rows, whose labels
    the maker has seen: it trusts the vectors too much there, which can only cost on the test rows.

    Args:
        tables: of one fuser.
        y: (n, t) targets.
        folds: which rows are tested together.
        lonlat: (n,) where they are.
        keys: (n,) their keys.
        extra: (n, p) features beside the vectors.
    """
    lacking, shown = seen_folds(tables, folds, lonlat, keys)
    if lacking:
        return None
    prediction = np.full(y.shape, np.nan)
    chosen: list[dict[str, Any]] = []
    fits: dict[int, Fit] = {}
    for fold, test in enumerate(folds.tests):
        clean = [at for at, mask in enumerate(shown) if mask.any() and not mask[test].any()]
        at = max(clean, key=lambda one: int(shown[one].sum()))
        if at not in fits:
            x = tables[at].vectors if extra is None else np.concatenate([tables[at].vectors, extra], axis=1)
            fits[at] = fusion_ridge(x, y, folds)[0]
        prediction[test] = fits[at].prediction[test]
        chosen.append({"table": tables[at].source, **fits[at].chosen[fold]})
    return Fit(prediction, tuple(chosen))
