"""The augmenter: a bank, a mode and masks made ready once, then applied to any number of queries.

Blocks are brought to one scale, so that a ridge with one penalty weighs them alike: each is multiplied so that its
variance over the bank's places, summed over its columns, is 1. Which columns belong to which block is recorded.

**Support.** What stands behind an answer is its kernel mass: the sum of the kernel over all bank rows that count, where
a row at the place itself (of a semantic mode: one equal to the query) counts 1. It is the product of Kish's effective
number of rows, (Σw)² / Σw², and their mean weight Σw² / Σw: ten rows at half the kernel's height are 5, none nearby
is 0. With several kernels it is that of the narrowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, SpaceMismatch, UsageError
from placevec.features.retrieval import bandwidths
from placevec.features.retrieval.bandwidths import Bandwidths
from placevec.features.retrieval.bank import Bank, Vectors
from placevec.features.retrieval.harmonics import Frame
from placevec.features.retrieval.kernels import Kernel, width_of
from placevec.features.retrieval.masks import Masks, Queries, distance_text
from placevec.features.retrieval.modes import Concat, Geo, Mode, Multiscale, RangePlus, Soft, Top1, TopM, settings_of
from placevec.features.retrieval.parts import Alike, Around, Blend, Harmonics, Look, Own, Part, Query
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.provenance import Space, digest_json

BATCH = 2048
_SAMPLE = 1024

NO_PLACE = "no geometry"
NO_DIRECTION = "the vector is all zero and has no direction to search in"
NO_ROW = "no bank row is left after masking"
NO_OWN = "no bank row of the same id"

CONTEXT = "the kernel means include the place itself"


@dataclass(frozen=True)
class Block:
    """Which columns are what.

    Attributes:
        name: "query", "harmonics", "soft", "geo-25km", ...
        start: its first column.
        stop: the column after its last.
        weight: what its values were multiplied by.
    """

    name: str
    start: int
    stop: int
    weight: float

    def to_json(self) -> dict[str, Any]:
        """For the recipe of a table."""
        return {"name": self.name, "start": self.start, "stop": self.stop, "weight": self.weight}


@dataclass(frozen=True, eq=False)
class Augmented:
    """What was found for n queries.

    Attributes:
        vectors: (n, d) the blocks side by side; zeros where nothing could be looked up.
        support: (n,) the kernel mass, see the module.
        bank_m: (n,) metres to the nearest bank row that counts; NaN without one, or without a place.
        left_out: (n,) bound on the share of the dense softmax that was cut off; 0 without a softmax.
        reason: (n,) why nothing could be looked up, "" where it could.
    """

    vectors: Vectors
    support: NDArray[np.float64]
    bank_m: NDArray[np.float64]
    left_out: NDArray[np.float64]
    reason: NDArray[np.object_]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which queries (n,) have an answer."""
        return np.asarray(self.reason == "", dtype=bool)


class Augmenter:
    """A bank made ready for a mode.

    Args:
        bank: what is looked up.
        mode: how.
        masks: which rows count.
        sample: (m, s) some query vectors, by which the block of the query is scaled where the bank has no keys.
        query_dims: the number of components of a query; by default that of the keys, or of `sample`.
        query_weight: what the block of the query is multiplied by; by default that is learned as for the others.
        bare: whether the blocks that know nothing of the bank, query and harmonics, are left out.
        context: whether rows of the place itself and within the buffer count in the kernel means: these are then
            what stands around a place, as means over rings are, not what is known of it without it.
        like: an augmenter of the same mode, whose widths, frame and scales are taken over: their columns agree.

    Attributes:
        blocks: the columns.
        query_dims: the number of components of a query.
        bandwidths: the widths of the kernels, None without any.

    Raises:
        SpaceMismatch: a semantic mode, and the bank has no keys in the Space of the queries.
        UsageError: masks or a context that the mode does not know.
        DataError: a geographic mode, and no row of the bank has a geometry.
    """

    def __init__(
        self,
        bank: Bank,
        mode: Mode,
        masks: Masks | None = None,
        *,
        sample: Vectors | None = None,
        query_dims: int | None = None,
        query_weight: float | None = None,
        bare: bool = False,
        context: bool = False,
        like: Augmenter | None = None,
    ) -> None:
        self.mode = mode
        self.masks = masks or Masks()
        self.bare: bool = bare if like is None else like.bare
        self.context: bool = context if like is None else like.context
        if self.context:
            _check_context(mode, self.masks)
        self.bank = _fit_for(bank, mode, self.masks)
        self.bandwidths: Bandwidths | None = None if like is None else like.bandwidths
        self.frame: Frame | None = None if like is None else like.frame
        dims = query_dims if like is None else like.query_dims
        if dims is None:
            held = self.bank.keys if self.bank.keys is not None else sample
            if held is None:
                raise UsageError("the bank has no keys: say how many components a query has, or give a sample")
            dims = held.shape[1]
        self.query_dims: int = dims
        self.parts: tuple[Part, ...] = (*self._head(), *self._parts())
        if like is None:
            weights = self._weights(sample, query_weight)
        else:
            weights = [block.weight for block in like.blocks]
        stops = np.cumsum([part.width for part in self.parts]).tolist()
        self.blocks: tuple[Block, ...] = tuple(
            Block(part.name, stop - part.width, stop, weight)
            for part, stop, weight in zip(self.parts, stops, weights, strict=True)
        )
        self.dims: int = stops[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: "soft:0", "soft:1", ..."""
        return tuple(f"{block.name}:{at}" for block in self.blocks for at in range(block.stop - block.start))

    def settings(self) -> dict[str, Any]:
        """What determines the vectors besides bank and queries, as JSON."""
        return {
            **settings_of(self.mode),
            **self.masks.to_json(),
            "blocks": [block.to_json() for block in self.blocks],
            "bandwidths": None if self.bandwidths is None else self.bandwidths.to_json(),
            "frame": None if self.frame is None else self.frame.to_json(),
            "index": self.bank.index.name if self.mode.semantic else "",
            "context": CONTEXT if self.context else "",
        }

    def space(self, queries: Space) -> Space:
        """The Space of the vectors made from queries of a Space."""
        digest = digest_json([self.settings(), self.bank.fingerprint])
        return Space.derived([queries, self.bank.space], digest, self.dims, note=f"augmented ({self.mode.kind})")

    def rows(
        self,
        lonlat: LonLat | tuple[NDArray[np.float64], NDArray[np.float64]],
        vectors: Vectors,
        *,
        ids: NDArray[np.object_] | None = None,
        keys: NDArray[np.object_] | None = None,
    ) -> Augmented:
        """Look up any number of queries; memory is bounded by the answer.

        Args:
            lonlat: (n,) where they are; or (lon, lat) in degrees with NaN where there is no place.
            vectors: (n, s) in the Space of the queries.
            ids: (n,) ids, by which bank rows of the same id or place are left out; without them none is.
            keys: (n,) what they are observations of (`Places.keys`); by default the ids.
        """
        lon, lat = (lonlat.lon, lonlat.lat) if isinstance(lonlat, LonLat) else lonlat
        if vectors.ndim != 2 or vectors.shape[1] != self.query_dims or len(vectors) != len(lon):
            raise SpaceMismatch(
                f"queries are ({len(lon)}, {self.query_dims}) vectors in the Space of the keys, not {vectors.shape}"
            )
        out = np.zeros((len(lon), self.dims), dtype=np.float32)
        facts = np.zeros((3, len(lon)))
        reason = np.full(len(lon), "", dtype=object)
        for start in range(0, len(lon), BATCH):
            at = slice(start, start + BATCH)
            queries = Queries.of(
                self.bank, self.masks, lon[at], lat[at], vectors[at],
                None if ids is None else ids[at], None if keys is None else keys[at],
            )  # fmt: skip
            self._batch(Look(queries, getattr(self.mode, "k", 0)), out[at], facts[:, at], reason[at])
        return Augmented(out, facts[0], facts[1], facts[2], reason)

    def _batch(self, look: Look, out: Vectors, facts: NDArray[np.float64], reason: NDArray[np.object_]) -> None:
        """Fill in the columns, the facts (support, bank_m, left_out) and the reasons of a batch."""
        reason[:] = self._reasons(look)
        mass: dict[str, NDArray[np.float64]] = {}
        for part, block in zip(self.parts, self.blocks, strict=True):
            values, mass[part.name] = part(look)
            np.multiply(values, np.float32(block.weight), out=out[:, block.start : block.stop])
            if isinstance(part, Alike | Blend):
                soft = part if isinstance(part, Alike) else part.alike
                facts[2] = soft.left_out(look) if soft.soft else 0.0
        facts[0] = mass[self.behind]
        facts[1] = 2.0 * EARTH_RADIUS_M * np.arcsin(np.minimum(self._chord(look) / 2.0, 1.0))
        lost = reason != ""
        out[lost] = 0.0
        facts[0, lost] = facts[2, lost] = 0.0

    def _chord(self, look: Look) -> NDArray[np.float64]:
        own = next((part for part in self.parts if isinstance(part, Own)), None)
        if own is None:
            return self._geographic(look).nearest[1]
        row = own.rows(look.queries)
        chord = np.full(len(row), np.nan)
        held = np.flatnonzero(row >= 0)
        chord[held] = look.queries.chords(held, row[held])
        return chord

    def _geographic(self, look: Look) -> Look:
        """The batch as the kernels see it."""
        return look.all_around if self.context else look

    @property
    def behind(self) -> str:
        """The part whose mass is the support: the narrowest kernel, else the looking up itself."""
        around = [part.name for part in self.parts if isinstance(part, Around)]
        return around[0] if around else self.parts[-1].name

    def _reasons(self, look: Look) -> NDArray[np.object_]:
        queries = look.queries
        reason = np.full(len(queries), "", dtype=object)
        if isinstance(self.mode, Concat):
            (own,) = (part for part in self.parts if isinstance(part, Own))
            reason[own.rows(queries) < 0] = NO_OWN
            return reason
        if self.mode.geographic:
            reason[self._geographic(look).nearest[0] < 0] = NO_ROW
        if self.mode.semantic:
            reason[look.alike[0][:, 0] < 0] = NO_ROW
            assert self.bank.key_space is not None
            if self.bank.key_space.metric == "cosine":
                reason[~queries.vectors.any(axis=1)] = NO_DIRECTION
        if self.mode.geographic or self.masks.geographic:
            reason[~queries.located] = NO_PLACE
        return reason

    def _head(self) -> list[Part]:
        """What is known of a place without the bank."""
        mode = self.mode
        if self.bare:
            return []
        if not isinstance(mode, Geo | Multiscale) or mode.degrees < 2:
            return [Query(self.query_dims)]
        self.frame = self.frame or Frame.around(self.bank.lonlat)
        return [Query(self.query_dims), Harmonics(self.frame, mode.degrees, mode.power)]

    def _parts(self) -> list[Part]:
        mode, bank = self.mode, self.bank
        if isinstance(mode, Concat):
            return [Own(bank, mode.max_m)]
        if isinstance(mode, Top1 | TopM):
            return [Alike(bank, mode.tau, soft=False, name=mode.kind)]
        if isinstance(mode, Soft):
            return [Alike(bank, mode.tau, soft=True, name="soft")]
        if isinstance(mode, RangePlus):
            kernel = Kernel(bank, bank.values, 1.0 / float(np.sqrt(mode.concentration)))
            return [Blend(Around(kernel, "geo"), Alike(bank, mode.tau, soft=True, name="soft"), mode.blend)]
        parts: list[Part] = []
        if isinstance(mode, Multiscale):
            parts.append(Alike(bank, mode.tau, soft=True, name="soft"))
        self.bandwidths = self.bandwidths or _bandwidths(mode, bank)
        for metres in self.bandwidths.metres:
            name = f"geo-{distance_text(metres).replace(' ', '')}"
            parts.append(Around(Kernel(bank, bank.values, width_of(metres)), name, self.context))
        return parts

    def _weights(self, sample: Vectors | None, query_weight: float | None) -> list[float]:
        """What brings each block to one scale: 1 / √(its summed variance over some of the bank's places)."""
        rows = np.arange(0, len(self.bank), max(1, len(self.bank) // _SAMPLE))
        keys = self.bank.keys[rows] if self.bank.keys is not None else sample
        places = self.bank.places.take(rows)
        vectors = self.bank.keys[rows] if self.bank.keys is not None else np.zeros((len(rows), 1), dtype=np.float32)
        queries = Queries.of(self.bank, self.masks, places.lon, places.lat, vectors, places.ids, places.keys)
        look = Look(queries, getattr(self.mode, "k", 0))
        good = self._reasons(look) == ""
        weights = []
        for part in self.parts:
            if isinstance(part, Query):
                learned = 1.0 if keys is None else scale(keys)
                weights.append(learned if query_weight is None else query_weight)
            else:
                # Where the masks leave the bank's own places nothing, its values say how large a block will be.
                values = part(look)[0][good] if good.sum() > 1 else self.bank.values[rows]
                weights.append(scale(values))
        return weights


def augment_rows(
    lonlat: LonLat,
    vectors: Vectors,
    bank: Bank,
    mode: Mode,
    masks: Masks | None = None,
    *,
    ids: NDArray[np.object_] | None = None,
    keys: NDArray[np.object_] | None = None,
) -> Augmented:
    """Look up the vectors (n, s) of n places in a bank: for the pixels of a grid, or a few rows in memory.

    Whoever asks often makes an `Augmenter` once and calls its `rows`. See there for arguments and errors.
    """
    return Augmenter(bank, mode, masks, sample=vectors).rows(lonlat, vectors, ids=ids, keys=keys)


def scale(values: Vectors) -> float:
    """1 / √(variance of the columns, summed), or by the mean square where nothing varies; to six digits."""
    wide = values.astype(np.float64)
    spread = float(wide.var(axis=0).sum()) if len(wide) else 0.0
    size = float(np.square(wide).sum(axis=1).mean()) if len(wide) else 0.0
    # Rounding alone makes a variance of about 1e-14 of the mean square.
    used = spread if spread > 1e-10 * size else size
    return float(f"{1.0 / np.sqrt(used):.6g}") if used > 0.0 else 1.0


def _bandwidths(mode: Geo | Multiscale, bank: Bank) -> Bandwidths:
    if mode.widths_m:
        return bandwidths.given(mode.widths_m)
    return bandwidths.learn(bank, mode.bands)


def _check_context(mode: Mode, masks: Masks) -> None:
    if not isinstance(mode, Geo | Multiscale):
        raise UsageError(f"the mode {mode.kind!r} has no kernel means that could be a context: take geo or multiscale")
    if isinstance(mode, Geo) and masks.buffer_m > 0.0:
        raise UsageError(
            f"a context includes the place itself and all around it, so a buffer of {distance_text(masks.buffer_m)} "
            "would change nothing: leave out one of them"
        )


def _fit_for(bank: Bank, mode: Mode, masks: Masks) -> Bank:
    """The rows of the bank that the mode can use."""
    if isinstance(mode, Concat) and masks != Masks():
        raise UsageError("concat takes the bank's row of the place itself: it knows no buffer and no mask by distance")
    if mode.semantic and bank.keys is None:
        raise SpaceMismatch(
            f"the mode {mode.kind!r} compares queries with {bank.name}, whose vectors are of another Space "
            f"({bank.space.label}): give keys, the bank's places embedded by the encoder of the queries (--keys), or "
            "take the mode geo, which needs none"
        )
    if not (mode.geographic or masks.geographic) or bank.located.all():
        return bank
    if not bank.located.any():
        raise DataError(f"no row of {bank.name} has a geometry, so none is near to anything: use soft, without masks")
    return bank.take(bank.tree_rows)
