"""The work of an embedding job: read a shard's places from a Source, encode them, say why some fell out."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.engine.work import Done
from placevec.errors import DataError, JobError, UsageError
from placevec.geo.hilbert import hilbert_order
from placevec.table import EmbeddingTable, Places, Skipped

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder
    from placevec.sources.base import Source

# Failures of the machine, not of a place: to skip places for them would make a poor table in silence.
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class EmbedWork:
    """Embeds the places at given positions of the Hilbert order; see `engine.work.Work`.

    Args:
        source: where the places' content is read.
        encoder: makes vectors of it.
        batch: places that are read and encoded at once; vectors may depend on it in their last bits.
        dtype: how vectors are stored in fragments.
    """

    def __init__(self, source: Source, encoder: Encoder, batch: int = 256, dtype: str = "float32") -> None:
        self.source = source
        self.encoder = encoder
        self.batch = batch
        self.dtype = dtype

    @cached_property
    def places(self) -> Places:
        """All places of the source."""
        return self.source.places()

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The rows of the source in the order of the job: along the Hilbert curve, those without geometry last."""
        return hilbert_order(self.places.lon, self.places.lat)

    def __call__(self, positions: NDArray[np.int64]) -> Done:
        """Embed the places at `positions`.

        A place whose content cannot be read or encoded is skipped with the reason; other failures are raised.
        """
        asked = self.order[positions]
        kept: list[NDArray[np.int64]] = []
        found: list[NDArray[np.float32]] = []
        skipped: list[Skipped] = []
        for start in range(0, len(asked), self.batch):
            rows, data, lost = self._read(asked[start : start + self.batch])
            skipped += lost
            if len(rows):
                rows, vectors, lost = self._encode(rows, data)
                kept.append(rows)
                found.append(vectors)
                skipped += lost
        dims = self.encoder.space.dims
        vectors = np.concatenate([np.empty((0, dims), dtype=np.float32), *found])
        rows = np.concatenate([np.empty(0, dtype=np.int64), *kept])
        table = EmbeddingTable.of(
            self.places.take(rows), vectors, self.encoder.space, dtype=self.dtype, tower=self.encoder.tower
        )
        return Done(table, skipped)

    def _read(self, asked: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]], list[Skipped]]:
        try:
            batch = self.source.read(asked)
        except (DataError, OSError) as error:
            _raise_if_machine(error)
            if len(asked) == 1:
                return asked[:0], {}, [self._skip(int(asked[0]), "read", error)]
            # One place spoils the reading of its batch: find it, keep the others.
            return _joined(self._read(asked[i : i + 1]) for i in range(len(asked)))
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

    def _encode(
        self, rows: NDArray[np.int64], data: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], list[Skipped]]:
        missing = [name for name in self.encoder.inputs if name not in data]
        if missing:
            raise UsageError(
                f"the encoder {name_of(self.encoder)} needs {missing[0]!r}, the source gives {', '.join(sorted(data))}"
            )
        try:
            vectors = np.asarray(self.encoder.encode({name: data[name] for name in self.encoder.inputs}))
        except DataError as error:
            if len(rows) == 1:
                empty = np.empty((0, self.encoder.space.dims), dtype=np.float32)
                return rows[:0], empty, [self._skip(int(rows[0]), "encode", error)]
            parts = [
                self._encode(rows[i : i + 1], {name: values[i : i + 1] for name, values in data.items()})
                for i in range(len(rows))
            ]
            skipped = [skip for part in parts for skip in part[2]]
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), skipped
        if vectors.shape != (len(rows), self.encoder.space.dims):
            raise JobError(
                f"the encoder {name_of(self.encoder)} gave an array {vectors.shape} for {len(rows)} places in a Space "
                f"of {self.encoder.space.dims} dims: `placevec.testing.check_encoder` finds what is wrong with it"
            )
        vectors = vectors.astype(np.float32, copy=False)
        finite = np.isfinite(vectors).all(axis=1)
        lost = [self._skip(row, "encode", "the vector is not finite") for row in rows[~finite].tolist()]
        return rows[finite], vectors[finite], lost

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


def _raise_if_machine(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in _MACHINE:
        raise error


def _sorted(positions: NDArray[np.int64]) -> bool:
    return bool((np.diff(positions) > 0).all())


def _joined(
    parts: Iterable[tuple[NDArray[np.int64], dict[str, NDArray[Any]], list[Skipped]]],
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]], list[Skipped]]:
    found = list(parts)
    skipped = [skip for part in found for skip in part[2]]
    read = [part for part in found if len(part[0])]
    if not read:
        return found[0][0][:0], {}, skipped
    data = {name: np.concatenate([part[1][name] for part in read]) for name in read[0][1]}
    return np.concatenate([part[0] for part in read]), data, skipped
