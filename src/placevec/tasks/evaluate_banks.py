"""Rows of `evaluate location` that look a bank up: a table for all places, or the training rows of each fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.features.retrieval import Augmenter, Bank, CrossFit, Masks, Mode, mode_of
from placevec.features.retrieval.crossfit import Folded
from placevec.features.retrieval.modes import Concat, settings_of
from placevec.provenance import Saw, Space, digest_json, inherit_saw
from placevec.table import EmbeddingTable, Places
from placevec.tasks.evaluate import digest_arrays
from placevec.tasks.evaluate_features import Features, LocationModel
from placevec.tasks.evaluate_targets import Target

DEFAULT = "multiscale"
Note = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Query:
    """What is augmented: learned vectors at the places of a target, and how the same are had for a bank."""

    name: str
    vectors: NDArray[np.float32]
    space: Space
    saw: tuple[Saw, ...]
    keys: Callable[[EmbeddingTable], EmbeddingTable | None]


class BankRows:
    """For every learned row further ones, by a bank and the modes of looking it up.

    Args:
        table: the bank; its rows are known again by id, and no place finds itself.
        modes: as `augment` has them; "multiscale" if none is given.
        columns: columns of a target's places that are looked up among the training rows of each fold. The target's
            own column may be one: its values at test rows are in no bank.
    """

    def __init__(self, table: EmbeddingTable | None, modes: Sequence[str], columns: Sequence[str]) -> None:
        self.table = table
        self.modes: tuple[Mode, ...] = tuple(mode_of(name) for name in modes or (DEFAULT,))
        self.columns = tuple(columns)

    def about(self) -> dict[str, Any]:
        """The settings, as JSON."""
        return {
            "table": None if self.table is None else self.table.fingerprint(),
            "from_train": list(self.columns),
            "modes": [settings_of(mode) for mode in self.modes],
        }

    def features(
        self,
        target: Target,
        models: Sequence[LocationModel],
        tables: Mapping[str, EmbeddingTable],
        buffer_m: float,
        note: Note,
    ) -> list[Features]:
        """The further rows of a target; rows within `buffer_m` of a place are not looked up for it."""
        named = _with_groups(target)
        values = self._values(target, note)
        found = []
        if values is not None:
            # The place alone, without any encoder: what the bank of training rows says by itself.
            nothing = np.zeros((len(named), 0), dtype=np.float32)
            for mode in self.modes:
                if not mode.semantic and not isinstance(mode, Concat):
                    bank = TrainBank(named, nothing, values, mode, Masks(buffer_m))
                    found.append(Features(f"training rows, {mode.kind}", bank, "learned", (), bank.digest))
        for query in _queries(named, models, tables):
            for mode in self.modes:
                masks = Masks() if isinstance(mode, Concat) else Masks(buffer_m)
                if self.table is not None:
                    made = _looked_up(query, self.table, mode, masks, named, note)
                    found += [] if made is None else [made]
                if values is not None and not isinstance(mode, Concat):
                    bank = TrainBank(named, query.vectors, values, mode, masks)
                    name = f"{query.name} + training rows, {mode.kind}"
                    found.append(Features(name, bank, "learned", query.saw, bank.digest))
        return found

    def _values(self, target: Target, note: Note) -> NDArray[np.float64] | None:
        if not self.columns:
            return None
        listed = []
        for name in self.columns:
            if name in (target.name, target.column):
                column = target.values
            elif target.places.has(name):
                column = target.places.column(name)
            else:
                note(f"{target.name}: its places have no column {name!r} to be looked up among training rows")
                return None
            try:
                listed.append(np.asarray(column, dtype=np.float64))
            except (TypeError, ValueError):
                raise UsageError(f"the column {name!r} holds no numbers, so that no mean can be looked up") from None
        return np.column_stack(listed)


class TrainBank:
    """Vectors augmented by numbers of the training rows: a function of these rows, see `measure.nested.Fitted`.

    Numbers are brought to mean 0 and variance 1 by the training rows; where one is missing it counts as their mean.
    Each call builds a bank, and learns its bandwidths where the mode has some.

    Args:
        places: (n) the rows, with the column `place` where several observe one.
        vectors: (n, s) the queries.
        values: (n, v) the numbers.
        mode: how they are looked up.
        masks: which training rows count for a row.
    """

    def __init__(
        self,
        places: Places,
        vectors: NDArray[np.float32],
        values: NDArray[np.float64],
        mode: Mode,
        masks: Masks,
    ) -> None:
        self.places, self.vectors, self.values = places, vectors, values
        self.mode, self.masks = mode, masks

    @property
    def digest(self) -> str:
        """Of all that it is made from."""
        content = digest_arrays([self.vectors, self.values])
        return digest_json([content, settings_of(self.mode), self.masks.to_json()])

    def __call__(self, train: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features (n, d) of all rows."""
        return self.parts(train)[0]

    def parts(self, train: NDArray[np.int64]) -> tuple[NDArray[np.float32], tuple[tuple[str, int, int], ...]]:
        """The features (n, d) of all rows, and the (name, start, stop) of their blocks."""
        known = self.values[train]
        held = np.isfinite(known)
        count = np.maximum(held.sum(axis=0), 1)
        mean = np.where(held, known, 0.0).sum(axis=0) / count
        sd = np.sqrt((np.where(held, known - mean, 0.0) ** 2).sum(axis=0) / count)
        scaled = np.where(np.isfinite(self.values), (self.values - mean) / np.where(sd > 0.0, sd, 1.0), 0.0)
        return CrossFit(self.places, self.vectors, scaled.astype(np.float32), self.mode, self.masks).parts(train)


def _queries(places: Places, models: Sequence[LocationModel], tables: Mapping[str, EmbeddingTable]) -> Iterator[_Query]:
    lonlat = np.column_stack([places.lon, places.lat])
    for model in models:
        if model.role != "learned":
            continue
        space = model.encoder.space
        vectors = np.ascontiguousarray(model.encode(lonlat), dtype=np.float32)
        yield _Query(model.name, vectors, space, model.saw, partial(_encoded, model=model))
    for name, table in tables.items():
        rows = table.rows_of(places.ids)
        if (rows >= 0).all():
            saw = tuple(table.meta.saw)
            yield _Query(name, table.vectors(rows), table.space, saw, partial(_same, table=table))


def _looked_up(
    query: _Query, table: EmbeddingTable, mode: Mode, masks: Masks, places: Places, note: Note
) -> Features | None:
    joined = (table.space.id, table.space.dims) == (query.space.id, query.space.dims)
    keys = query.keys(table) if mode.semantic and not joined else None
    if mode.semantic and not joined and keys is None:
        note(f"{query.name} + {mode.kind}: the table holds no place of the bank, and nothing else has its Space")
        return None
    bank = Bank.of(table, keys, queries=query.space)
    augmenter = Augmenter(bank, mode, masks, sample=query.vectors)
    # Places of the bank are answered from its other folds; concat asks for the very row.
    asked = augmenter if isinstance(mode, Concat) else Folded(augmenter)
    found = asked.rows(places.lonlat(), query.vectors, ids=places.ids, keys=places.keys)
    good, vectors = found.usable, found.vectors
    if not good.any():
        raise SchemaError(
            f"{query.name} + {mode.kind}: the bank answers for no place ({found.reason[0]}): "
            "give a smaller --buffer, or another bank"
        )
    if not good.all():
        note(f"{query.name} + {mode.kind}: the bank has no answer for {int((~good).sum()):,} places; they get the mean")
        vectors[~good] = vectors[good].mean(axis=0)
        first = augmenter.blocks[0]
        vectors[~good, first.start : first.stop] = query.vectors[~good] * np.float32(first.weight)
    saw = tuple(inherit_saw(query.saw, bank.saw))
    blocks = tuple((block.name, block.start, block.stop) for block in augmenter.blocks)
    return Features(f"{query.name} + {mode.kind}", vectors, "learned", saw, digest_arrays([vectors]), blocks)


def _encoded(bank: EmbeddingTable, model: LocationModel) -> EmbeddingTable:
    """The bank's places by the encoder of the queries: its keys."""
    places = bank.places()
    places = places.take(np.flatnonzero(places.located))
    vectors = model.encode(np.column_stack([places.lon, places.lat]))
    return EmbeddingTable.of(places, np.asarray(vectors, dtype=np.float32), model.encoder.space)


def _same(bank: EmbeddingTable, table: EmbeddingTable) -> EmbeddingTable | None:
    return table if (table.rows_of(bank.ids) >= 0).any() else None


def _with_groups(target: Target) -> Places:
    """The places with what makes several rows observations of one, so that none finds its twin."""
    if target.places.has("place"):
        return target.places
    return target.places.with_column("place", np.array([f"{group}" for group in target.groups], dtype=object))
