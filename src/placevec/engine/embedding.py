"""The work of an embedding job: read a shard's places from a Source, encode them, say why some fell out."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.engine.flags import flag_columns, flags_of, with_flags
from placevec.engine.work import Done
from placevec.errors import DataError, JobError, UsageError
from placevec.geo.hilbert import hilbert_order
from placevec.sources.base import Partitioned
from placevec.table import EmbeddingTable, Places, Skipped

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder
    from placevec.sources.base import Source

Rows = NDArray[np.int64]

# Failures of the machine, not of a place: to skip places for them would make a poor table in silence.
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class EmbedWork:
    """Embeds the places at given positions of the job's order; see `engine.work.Work`.

    The order is the Hilbert order of the places; of a `Partitioned` source it is that of its rows, and only the
    places of the shard are read.

    Args:
        source: where the places' content is read.
        encoder: makes vectors of it. It may add columns, see `engine.flags`.
        batch: places that are read and encoded at once; vectors may depend on it in their last bits.
        dtype: how vectors are stored in fragments.
    """

    def __init__(
        self, source: Source | Partitioned, encoder: Encoder, batch: int = 256, dtype: str = "float32"
    ) -> None:
        self.source = source
        self.encoder = encoder
        self.batch = batch
        self.dtype = dtype

    @cached_property
    def places(self) -> Places:
        """All places of the source; UsageError if it is one that is read by parts."""
        if isinstance(self.source, Partitioned):
            raise UsageError(f"the {self.source.num_rows:,} places of this source are read by parts, never all at once")
        return self.source.places()

    @cached_property
    def order(self) -> Rows:
        """The rows of the source in the order of the job: along the Hilbert curve, those without geometry last."""
        return hilbert_order(self.places.lon, self.places.lat)

    @property
    def template(self) -> Places:
        """No rows, and the columns of the places and of the encoder's flags."""
        if isinstance(self.source, Partitioned):
            places = self.source.template()
        else:
            places = self.places.take(np.empty(0, dtype=np.int64))
        return with_flags(places, _no_flags(self.encoder))

    def __call__(self, positions: Rows) -> Done:
        """Embed the places at `positions`.

        A place whose content cannot be read or encoded is skipped with the reason; other failures are raised.
        """
        if isinstance(self.source, Partitioned):
            part, asked = self._part_of(positions)
        else:
            part, asked = _Part(self.source, self.places, self.encoder), self.order[positions]
        found = [_Encoded.none(self.encoder)]
        skipped: list[Skipped] = []
        for start in range(0, len(asked), self.batch):
            rows, data, lost = part.read(asked[start : start + self.batch])
            skipped += lost
            if len(rows):
                encoded, lost = part.encode(rows, data)
                found.append(encoded)
                skipped += lost
        encoded = _Encoded.joined(found)
        table = EmbeddingTable.of(
            with_flags(part.places.take(encoded.rows), encoded.flags),
            encoded.vectors,
            self.encoder.space,
            dtype=self.dtype,
            tower=self.encoder.tower,
        )
        return Done(table, skipped)

    def _part_of(self, positions: Rows) -> tuple[_Part, Rows]:
        """What holds the rows at `positions`, and where they stand in it."""
        assert isinstance(self.source, Partitioned)
        if not len(positions):
            return _Part(self.source.part(0, 0), self.source.template(), self.encoder), positions
        start, stop = int(positions.min()), int(positions.max()) + 1
        source = self.source.part(start, stop)
        places = source.places()
        if len(places) != stop - start:
            raise JobError(
                f"{type(self.source).__name__} gave {len(places)} places for rows {start} to {stop}: the file has "
                "changed since the job began, run it with --restart"
            )
        return _Part(source, places, self.encoder), positions - start


class _Encoded(NamedTuple):
    """Rows, their vectors (m, d), and the encoder's flags of them."""

    rows: Rows
    vectors: NDArray[np.float32]
    flags: dict[str, pa.Array]

    @classmethod
    def none(cls, encoder: Encoder) -> _Encoded:
        empty = np.empty((0, encoder.space.dims), dtype=np.float32)
        return cls(np.empty(0, dtype=np.int64), empty, _no_flags(encoder))

    @classmethod
    def joined(cls, parts: list[_Encoded]) -> _Encoded:
        flags = {name: pa.concat_arrays([part.flags[name] for part in parts]) for name in parts[0].flags}
        return cls(np.concatenate([p.rows for p in parts]), np.concatenate([p.vectors for p in parts]), flags)


@dataclass(frozen=True)
class _Part:
    """Places in memory, their content, and the encoder."""

    source: Source
    places: Places = field(repr=False)
    encoder: Encoder

    def read(self, asked: Rows) -> tuple[Rows, dict[str, NDArray[Any]], list[Skipped]]:
        """The rows that could be read, in the order asked for, their content, and the others."""
        try:
            batch = self.source.read(asked)
        except (DataError, OSError) as error:
            _raise_if_machine(error)
            if len(asked) == 1:
                return asked[:0], {}, [self._skip(int(asked[0]), "read", error)]
            # One place spoils the reading of its batch: find it, keep the others.
            return _joined(self.read(asked[i : i + 1]) for i in range(len(asked)))
        where = {int(row): i for i, row in enumerate(asked)}
        strange = [int(row) for row in batch.rows if int(row) not in where]
        if strange or len(set(batch.rows.tolist())) != len(batch.rows):
            raise JobError(
                f"{type(self.source).__name__} gave row {(strange or batch.rows.tolist())[0]} that was not asked for, "
                "or gave it twice: `placevec.testing.check_source` finds what is wrong with a source"
            )
        positions = np.array([where[int(row)] for row in batch.rows], dtype=np.int64)
        order = np.argsort(positions)
        read = batch.rows[order]
        reasons = {skip.id: skip for skip in batch.skipped}
        skipped = []
        for row in asked[np.isin(asked, read, invert=True)].tolist():
            known = reasons.get(self.places.ids[row])
            if known is None:
                skipped.append(self._skip(row, "read", "the source neither gave nor skipped it"))
            else:
                skipped.append(Skipped(known.id, known.stage, known.reason, known.geometry or self._geometry(row)))
        data = {name: values if _sorted(positions) else values[order] for name, values in batch.data.items()}
        return read, data, skipped

    def encode(self, rows: Rows, data: Mapping[str, NDArray[Any]]) -> tuple[_Encoded, list[Skipped]]:
        """The vectors and flags of the rows that can be encoded, and the others."""
        missing = [name for name in self.encoder.inputs if name not in data]
        if missing:
            raise UsageError(
                f"the encoder {name_of(self.encoder)} needs {missing[0]!r}, the source gives {', '.join(sorted(data))}"
            )
        wanted = {name: data[name] for name in self.encoder.inputs}
        try:
            vectors = np.asarray(self.encoder.encode(wanted))
            flags = flags_of(self.encoder, wanted, len(rows))
        except DataError as error:
            if len(rows) == 1:
                return _Encoded.none(self.encoder), [self._skip(int(rows[0]), "encode", error)]
            parts = [
                self.encode(rows[i : i + 1], {name: values[i : i + 1] for name, values in data.items()})
                for i in range(len(rows))
            ]
            return _Encoded.joined([part[0] for part in parts]), [skip for part in parts for skip in part[1]]
        if vectors.shape != (len(rows), self.encoder.space.dims):
            raise JobError(
                f"the encoder {name_of(self.encoder)} gave an array {vectors.shape} for {len(rows)} places in a Space "
                f"of {self.encoder.space.dims} dims: `placevec.testing.check_encoder` finds what is wrong with it"
            )
        vectors = vectors.astype(np.float32, copy=False)
        finite = np.isfinite(vectors).all(axis=1)
        lost = [self._skip(row, "encode", "the vector is not finite") for row in rows[~finite].tolist()]
        kept = {name: values.filter(pa.array(finite)) for name, values in flags.items()}
        return _Encoded(rows[finite], vectors[finite], kept), lost

    def _skip(self, row: int, stage: str, why: str | Exception) -> Skipped:
        reason = why if isinstance(why, str) else " ".join(str(why).split()) or type(why).__name__
        return Skipped(str(self.places.ids[row]), stage, reason, self._geometry(row))

    def _geometry(self, row: int) -> bytes | None:
        value: bytes | None = self.places.data["geometry"][row].as_py()
        return value


def name_of(encoder: Any) -> str:
    """What an encoder is called: the name on its card, else its kind or class."""
    card = getattr(encoder, "card", None)
    return str(getattr(card, "name", "") or getattr(card, "kind", "") or type(encoder).__name__)


def _no_flags(encoder: Encoder) -> dict[str, pa.Array]:
    return {name: pa.array([], type=kind) for name, kind in flag_columns(encoder).items()}


def _raise_if_machine(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in _MACHINE:
        raise error


def _sorted(positions: Rows) -> bool:
    return bool((np.diff(positions) > 0).all())


def _joined(
    parts: Iterable[tuple[Rows, dict[str, NDArray[Any]], list[Skipped]]],
) -> tuple[Rows, dict[str, NDArray[Any]], list[Skipped]]:
    found = list(parts)
    skipped = [skip for part in found for skip in part[2]]
    read = [part for part in found if len(part[0])]
    if not read:
        return found[0][0][:0], {}, skipped
    data = {name: np.concatenate([part[1][name] for part in read]) for name in read[0][1]}
    return np.concatenate([part[0] for part in read]), data, skipped
