"""Several banks at once: their blocks side by side, with or without each bank's own row of the place.

A place may be known by several tables: learned vectors of its imagery, raw pixels, listings. Each is a bank with widths
and scales of its own: how far its vectors reach differs, and so do the places it holds.

``[query | harmonics | per bank: own? | soft? | geo-25km | ...]``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SpaceMismatch, UsageError
from placevec.features.retrieval.bank import Bank, Vectors
from placevec.features.retrieval.blocks import CONTEXT, NO_OWN, Augmented, Augmenter, Block, scale
from placevec.features.retrieval.crossfit import Folded
from placevec.features.retrieval.masks import Masks, Queries
from placevec.features.retrieval.modes import Concat, Geo, Mode, Multiscale, settings_of
from placevec.features.retrieval.parts import Harmonics, Look, Own, Query
from placevec.geo.sphere import LonLat
from placevec.provenance import Space, digest_json

OWN = "own"
_ROWS_OF_SCALE = 1024


@dataclass(frozen=True)
class _Piece:
    """Columns of the answer: what they are, and whose.

    Attributes:
        block: name, columns in the answer, and weight.
        member: the number of the bank.
        start: their first column in the answer of that bank's augmenter; None for the bank's own row.
    """

    block: Block
    member: int
    start: int | None


class Fusion:
    """One or several banks made ready for a mode, see the module.

    Args:
        banks: what is looked up.
        mode: how, in every bank. The harmonics stand in the frame of the first.
        masks: which rows count.
        own: whether the bank's own row of the same id becomes a block too: no retrieval, but what is known of a place
            that has imagery itself.
        context: whether the kernel means include the place itself and what lies within the buffer; with `own` only.
        folds: answer places of a bank from its other folds, see `crossfit`; 0: leave each out alone.
        sample: (m, s) some query vectors, see `Augmenter`.
        query_dims: see `Augmenter`.
        carried: the blocks of the queries, where these have some: their columns stay as they are.

    Attributes:
        members: the augmenter of each bank.
        labels: the name of each bank, unlike all others.
        blocks: all columns; of several banks, or beside carried ones, they are named like "image/own".
        dims: their number.

    Raises:
        UsageError: no bank, or settings that do not go together.
        SpaceMismatch: see `Augmenter`.
        DataError: see `Augmenter` and `Folded`.
    """

    def __init__(
        self,
        banks: Sequence[Bank],
        mode: Mode,
        masks: Masks | None = None,
        *,
        own: bool = False,
        context: bool = False,
        folds: int = 0,
        sample: Vectors | None = None,
        query_dims: int | None = None,
        carried: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        _check(banks, mode, own, context)
        self.mode, self.masks, self.folds, self.context = mode, masks or Masks(), folds, context
        self.labels = labels_of(banks)
        self.members: list[Augmenter] = []
        for at, bank in enumerate(banks):
            made = Augmenter(
                bank,
                mode,
                self.masks,
                sample=sample,
                query_dims=self.members[0].query_dims if at else query_dims,
                query_weight=1.0 if carried else None,
                bare=at > 0,
                context=context,
            )
            self.members.append(made)
        self._asked = [Folded(one, folds) if folds else one for one in self.members]
        # The bank as it was given: a row without a geometry is the row of its id all the same.
        self._own = tuple(Own(bank, None, OWN) for bank in banks) if own else ()
        self._pieces = self._lay()
        self.blocks: tuple[Block, ...] = _named(self._pieces, self.labels, carried)
        self.dims: int = self.blocks[-1].stop

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: "soft:0", "image/geo-25km:1", ..."""
        return tuple(f"{block.name}:{at}" for block in self.blocks for at in range(block.stop - block.start))

    @property
    def widths_m(self) -> tuple[float, ...]:
        """The widths of the kernels, bank by bank."""
        learned = [one.bandwidths for one in self.members]
        return tuple(width for one in learned if one is not None for width in one.metres)

    def settings(self) -> dict[str, Any]:
        """What determines the vectors besides the queries, as JSON."""
        frame = self.members[0].frame
        return {
            **settings_of(self.mode),
            **self.masks.to_json(),
            "own": bool(self._own),
            "context": CONTEXT if self.context else "",
            "folds": self.folds,
            "blocks": [block.to_json() for block in self.blocks],
            "frame": None if frame is None else frame.to_json(),
            "banks": [
                {
                    "name": label,
                    "table": one.bank.fingerprint,
                    "bandwidths": None if one.bandwidths is None else one.bandwidths.to_json(),
                    "index": one.bank.index.name if self.mode.semantic else "",
                    "support": one.behind,
                }
                for label, one in zip(self.labels, self.members, strict=True)
            ],
        }

    def space(self, queries: Space) -> Space:
        """The Space of the vectors made from queries of a Space; what files are called does not change it."""
        settings = self.settings()
        settings["blocks"] = [[block.start, block.stop, block.weight] for block in self.blocks]
        settings["banks"] = [{**one, "name": ""} for one in settings["banks"]]
        banks = [one.bank.space for one in self.members]
        note = f"augmented ({self.mode.kind})"
        return Space.derived([queries, *banks], digest_json(settings), self.dims, note=note)

    def rows(
        self,
        lonlat: LonLat | tuple[NDArray[np.float64], NDArray[np.float64]],
        vectors: Vectors,
        *,
        ids: NDArray[np.object_],
        keys: NDArray[np.object_] | None = None,
    ) -> Augmented:
        """See `Augmenter.rows`. A place needs an answer from every bank.

        Of several banks support and distance are the least, and what is left out of a softmax is the greatest.
        """
        lon, lat = (lonlat.lon, lonlat.lat) if isinstance(lonlat, LonLat) else lonlat
        out = np.zeros((len(vectors), self.dims), dtype=np.float32)
        facts: list[Augmented] = []
        reason = np.full(len(vectors), "", dtype=object)
        for number, asked in enumerate(self._asked):
            found = asked.rows((lon, lat), vectors, ids=ids, keys=keys)
            missing = found.reason
            for piece in self._pieces:
                if piece.member != number:
                    continue
                to = out[:, piece.block.start : piece.block.stop]
                if piece.start is None:
                    held = self._own_rows(number, lon, lat, vectors, ids, to)
                    to *= np.float32(piece.block.weight)
                    missing = np.where(held, missing, NO_OWN)
                else:
                    to[:] = found.vectors[:, piece.start : piece.start + to.shape[1]]
            if len(self.members) > 1:
                missing = np.array([one and f"{self.labels[number]}: {one}" for one in missing.tolist()], dtype=object)
            reason = np.where(reason == "", missing, reason)
            facts.append(replace(found, vectors=out))
        lost = reason != ""
        out[lost] = 0.0
        support = np.min([one.support for one in facts], axis=0)
        left_out = np.max([one.left_out for one in facts], axis=0)
        bank_m = np.fmin.reduce([one.bank_m for one in facts])
        return Augmented(out, np.where(lost, 0.0, support), bank_m, np.where(lost, 0.0, left_out), reason)

    def _own_rows(
        self,
        number: int,
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
        vectors: Vectors,
        ids: NDArray[np.object_],
        out: Vectors,
    ) -> NDArray[np.bool_]:
        """Fill in the own rows of one bank (n, d); which places (n,) have one."""
        part = self._own[number]
        values, held = part(Look(Queries.of(part.bank, Masks(), lon, lat, vectors, ids), 0))
        out[:] = values
        return held > 0.0

    def _lay(self) -> list[_Piece]:
        """All pieces in order, with the names that their augmenters gave them."""
        pieces: list[_Piece] = []

        def add(member: int, name: str, width: int, weight: float, start: int | None) -> None:
            at = pieces[-1].block.stop if pieces else 0
            pieces.append(_Piece(Block(name, at, at + width, weight), member, start))

        for number, member in enumerate(self.members):
            head = sum(isinstance(part, Query | Harmonics) for part in member.parts)
            for at, block in enumerate(member.blocks):
                if at == head and self._own:
                    values = self._own[number].bank.values
                    some = values[:: max(1, len(values) // _ROWS_OF_SCALE)]
                    add(number, OWN, values.shape[1], scale(some), None)
                add(number, block.name, block.stop - block.start, block.weight, block.start)
        return pieces


def labels_of(banks: Sequence[Bank]) -> tuple[str, ...]:
    """A short name for each bank: its file's without folder and ending, counted on where two are alike."""
    labels: list[str] = []
    for bank in banks:
        stem = PurePath(bank.name).stem.removeprefix("the ") or "bank"
        labels.append(_free(stem, labels))
    return tuple(labels)


def _named(pieces: Sequence[_Piece], labels: Sequence[str], carried: Sequence[Mapping[str, Any]]) -> tuple[Block, ...]:
    """The blocks by their final names: those carried over keep theirs, and none is called like another."""
    query, *rest = pieces
    if carried:
        blocks = [
            Block(str(one["name"]), int(one["start"]), int(one["stop"]), float(one.get("weight", 1.0)))
            for one in carried
        ]
        if blocks[-1].stop != query.block.stop:
            raise SpaceMismatch(f"the blocks of the queries end at {blocks[-1].stop}, not at {query.block.stop}")
    else:
        blocks = [query.block]
    for piece in rest:
        name, taken = piece.block.name, [block.name for block in blocks]
        of_bank = name != "harmonics"
        if of_bank and (len(labels) > 1 or carried):
            name = f"{labels[piece.member]}/{name}"
        blocks.append(replace(piece.block, name=_free(name, taken)))
    return tuple(blocks)


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or the first of name-2, name-3, ... that is not taken."""
    if name not in taken:
        return name
    count = 2
    while f"{name}-{count}" in taken:
        count += 1
    return f"{name}-{count}"


def once_harmonic(mode: Mode, carried: Sequence[Mapping[str, Any]]) -> Mode:
    """The mode without harmonics if the queries have theirs already."""
    if isinstance(mode, Geo | Multiscale) and any(one["name"] == "harmonics" for one in carried):
        return replace(mode, degrees=0)
    return mode


def _check(banks: Sequence[Bank], mode: Mode, own: bool, context: bool) -> None:
    if not banks:
        raise UsageError("no bank is given: name a table that is looked up")
    if own and isinstance(mode, Concat):
        raise UsageError("concat is the bank's own row beside the query: own would add it once more")
    if context and not own:
        raise UsageError(
            "a context includes the place itself in what stands around it: ask for its own row too (--own), or leave "
            "the context out"
        )
