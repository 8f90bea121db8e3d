"""The features that `evaluate location` compares: encoders run at the places, tables joined by id, fixed functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.nested import Fitted
from placevec.provenance import Saw
from placevec.table import EmbeddingTable, Places, StoredTable, open_table
from placevec.tasks.encoders import build_encoder
from placevec.tasks.evaluate import digest_arrays
from placevec.tasks.probed import vectors_at

HARMONICS = re.compile(r"^harmonics:(\d+)$")
MAX_DEGREES = 40
BUILT_IN = "sincos, harmonics:L"


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors at the places of a target.

    Attributes:
        name: as reports show it.
        values: (n, d) vectors, or a function of training rows, see `placevec.measure.nested.Fitted`.
        role: "learned", "untrained" (of the shape of a learned one) or "fixed" (a function of coordinates).
        saw: labels that were seen by what made them.
        digest: of what they are made from.
        blocks: (name, first column, column after the last) of the parts of an augmented vector.
    """

    name: str
    values: NDArray[Any] | Fitted
    role: str
    saw: tuple[Saw, ...] = ()
    digest: str = ""
    blocks: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class LocationModel:
    """Something that gives a vector for any coordinates.

    Attributes:
        name: as reports show it.
        encode: from the coordinates (n, 2) in degrees, longitude first, to vectors (n, d).
        role: see `Features`.
        saw: labels that it was fitted on.
        encoder: the encoder, where there is one.
    """

    name: str
    encode: Callable[[NDArray[np.float64]], NDArray[Any]]
    role: str
    saw: tuple[Saw, ...] = ()
    encoder: Any = None

    def at(self, lonlat: LonLat) -> Features:
        """Its vectors at places."""
        vectors = self.encode(np.column_stack([lonlat.lon, lonlat.lat]))
        return Features(self.name, vectors, self.role, self.saw, digest_arrays([vectors]))


def read_encoders(given: Iterable[Any] | Mapping[str, Any]) -> list[LocationModel]:
    """Encoders of coordinates by the words of a user: model folders, encoders, ``sincos``, ``harmonics:L``.

    Args:
        given: each a folder, a built-in, an encoder, or ``NAME=`` before one; or a mapping from names.

    Raises:
        UsageError: one is none, reads more than coordinates, or two have one name.
    """
    return _once([_model(name, one) for name, one in _named(given)])


def untrained_twins(models: Sequence[LocationModel], seed: int) -> list[LocationModel]:
    """For each shape of learned encoder that knows how, the same with the weights it would start from."""
    found: dict[str, LocationModel] = {}
    for model in models:
        encoder = model.encoder
        card = getattr(encoder, "card", None)
        if model.role != "learned" or card is None or not hasattr(type(encoder), "untrained"):
            continue
        twin = type(encoder).untrained(encoder.config, seed)
        found.setdefault(str(sorted(card.config.items())), LocationModel(model.name, _run(twin), "untrained"))
    return list(found.values())


def read_tables(given: Any) -> dict[str, EmbeddingTable]:
    """Tables, or their paths, by name: that of the file, or what stands before ``=``."""
    tables: dict[str, EmbeddingTable] = {}
    for name, one in _named(given):
        if name in tables:
            raise UsageError(
                f"two tables are called {name!r}: put NAME= before one, the report could not tell them apart"
            )
        tables[name] = read_table(one)
    return tables


def read_table(given: Any) -> EmbeddingTable:
    """A table in memory, from one, a stored one, or a path."""
    if isinstance(given, EmbeddingTable):
        return given
    return (given if isinstance(given, StoredTable) else open_table(given)).read()


def is_table(given: Any) -> bool:
    """Whether something names or is a table, not an encoder."""
    if isinstance(given, EmbeddingTable | StoredTable):
        return True
    return isinstance(given, str | Path) and Path(str(given).partition("=")[2] or str(given)).suffix in (
        ".parquet",
        ".geoparquet",
        ".gpq",
        ".lance",
    )


def table_features(name: str, table: EmbeddingTable, places: Places, role: str = "learned") -> Features:
    """The vectors (n, d) of a table at places, all of which it holds; of more than 1,024 components, a projection."""
    vectors, blocks = vectors_at(table, places)
    return Features(name, vectors, role, tuple(table.meta.saw), digest_arrays([vectors]), blocks)


def harmonics(lonlat: NDArray[np.float64], degrees: int) -> NDArray[np.float64]:
    """Real spherical harmonics (n, degrees² − 1) of the degrees from 1, for coordinates (n, 2) in degrees."""
    from placevec.features.retrieval.harmonics import real_harmonics

    radians = np.radians(lonlat)
    return np.asarray(real_harmonics(radians[:, 0], radians[:, 1], degrees)[:, 1:])


def _model(name: str, given: Any) -> LocationModel:
    if isinstance(given, str | Path):
        text = str(given)
        if text in ("sincos", "features:sincos"):
            return LocationModel(name, _run(build_encoder("features:sincos")), "fixed")
        found = HARMONICS.match(text)
        if found:
            degrees = int(found[1])
            if not 2 <= degrees <= MAX_DEGREES:
                raise UsageError(
                    f"{text}: give 2 to {MAX_DEGREES} degrees; above, a ridge has more columns than places"
                )
            return LocationModel(name, lambda lonlat: harmonics(lonlat, degrees), "fixed")
        if not Path(text).is_dir():
            raise UsageError(f"{text!r} is no encoder of coordinates: give a model folder, a table, or {BUILT_IN}")
        given = build_encoder(text)
    if tuple(given.inputs) != ("lonlat",):
        raise UsageError(
            f"the encoder {name!r} reads {', '.join(given.inputs) or 'nothing'}, not coordinates alone: "
            "embed the places with it, and give the table"
        )
    card = getattr(given, "card", None)
    return LocationModel(name, _run(given), "learned", tuple(getattr(card, "saw", ())), given)


def _run(encoder: Any) -> Callable[[NDArray[np.float64]], NDArray[Any]]:
    return lambda lonlat: np.asarray(encoder.encode({"lonlat": lonlat}))


def _named(given: Any) -> list[tuple[str, Any]]:
    if isinstance(given, Mapping):
        return [(str(name), one) for name, one in given.items()]
    listed = [given] if isinstance(given, str | Path | EmbeddingTable | StoredTable) else list(given)
    return [_name_of(one) for one in listed]


def _name_of(one: Any) -> tuple[str, Any]:
    if isinstance(one, EmbeddingTable):
        return one.meta.tower or "table", one
    if isinstance(one, StoredTable):
        return Path(str(one.path)).stem, one
    if not isinstance(one, str | Path):
        card = getattr(one, "card", None)
        return getattr(card, "name", "") or type(one).__name__, one
    name, equals, rest = str(one).partition("=")
    if equals:
        if not name or not rest:
            raise UsageError(f"{one!r}: write NAME=PATH, or the path alone")
        return name, rest
    return (name, one) if ":" in name or name == "sincos" else (Path(name).stem, one)


def _once(models: list[LocationModel]) -> list[LocationModel]:
    names = [model.name for model in models]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"two encoders are called {twice!r}: put NAME= before one, the report could not tell them apart"
        )
    return models
