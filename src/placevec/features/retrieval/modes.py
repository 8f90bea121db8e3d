"""The ways of looking a bank up, each with its own settings; `parts` says which blocks of columns it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np

from placevec.errors import UsageError


@dataclass(frozen=True)
class Concat:
    """The bank's row of the same id beside the query: no retrieval, but the place's own vector."""

    kind: ClassVar[str] = "concat"
    semantic: ClassVar[bool] = False
    geographic: ClassVar[bool] = False

    max_m: float | None = None  # without a row of the same id: the nearest row within so many metres


@dataclass(frozen=True)
class Top1:
    """The row most like the query (Regional-SatCLIP's default, less its fault: the query's own row never counts)."""

    kind: ClassVar[str] = "top1"
    semantic: ClassVar[bool] = True
    geographic: ClassVar[bool] = False

    tau: float = 15.0  # of the support value only: a row counts exp(tau (cosine - 1))

    @property
    def k(self) -> int:
        """Rows that are fetched."""
        return 1


@dataclass(frozen=True)
class TopM:
    """The plain mean of the m rows most like the query."""

    kind: ClassVar[str] = "topm"
    semantic: ClassVar[bool] = True
    geographic: ClassVar[bool] = False

    m: int = 8
    tau: float = 15.0  # of the support value only

    @property
    def k(self) -> int:
        """Rows that are fetched."""
        return self.m


@dataclass(frozen=True)
class Soft:
    """The mean of the k rows most like the query, weighted by softmax(tau · cosine) (RANGE, CVPR 2025, eq. 4)."""

    kind: ClassVar[str] = "soft"
    semantic: ClassVar[bool] = True
    geographic: ClassVar[bool] = False

    k: int = 256  # the softmax is cut here; the weight that is left out is bounded for every row
    tau: float = 15.0  # inverse temperature


@dataclass(frozen=True)
class RangePlus:
    """One block: (1 - blend) · geographic kernel mean + blend · soft mean (RANGE+, CVPR 2025, eq. 6)."""

    kind: ClassVar[str] = "range+"
    semantic: ClassVar[bool] = True
    geographic: ClassVar[bool] = True

    k: int = 256
    tau: float = 15.0
    concentration: float = 40.0  # g of exp(g cos α): a kernel of 6371 km / √g, 1007 km for 40
    blend: float = 0.5  # the share of the soft mean


@dataclass(frozen=True)
class Geo:
    """Smooth harmonics of the place and kernel means at several widths, side by side: needs no keys."""

    kind: ClassVar[str] = "geo"
    semantic: ClassVar[bool] = False
    geographic: ClassVar[bool] = True

    bands: int = 4  # at most so many kernels, if their widths are learned
    widths_m: tuple[float, ...] = ()  # widths in metres; none: learned from the bank
    degrees: int = 12  # of the harmonics; 0: none
    power: float = 1.5  # by which the spectrum of the harmonics falls


@dataclass(frozen=True)
class Multiscale:
    """Harmonics, the soft mean and kernel means at several widths as separate blocks: a ridge weighs each scale."""

    kind: ClassVar[str] = "multiscale"
    semantic: ClassVar[bool] = True
    geographic: ClassVar[bool] = True

    k: int = 256
    tau: float = 15.0
    bands: int = 4
    widths_m: tuple[float, ...] = ()
    degrees: int = 12
    power: float = 1.5


Mode: TypeAlias = Concat | Top1 | TopM | Soft | RangePlus | Geo | Multiscale

MODES: Mapping[str, type[Mode]] = {mode.kind: mode for mode in (Concat, Top1, TopM, Soft, RangePlus, Geo, Multiscale)}

# What each number must be; the others may be any.
_LEAST = {"k": 1, "m": 1, "bands": 1, "degrees": 0}
_MOST = {"degrees": 60, "blend": 1.0}
_ABOVE_ZERO = ("tau", "concentration", "max_m")


def mode_of(name: str, settings: Mapping[str, Any] | None = None) -> Mode:
    """The mode called `name` with the settings given.

    Raises UsageError, with what there is, for a mode or setting that is not known or a value out of range.
    """
    made = MODES.get(name)
    if made is None:
        raise UsageError(f"no mode is called {name!r}; known: {', '.join(MODES)}")
    known = [item.name for item in fields(made)]
    for key in settings or {}:
        if key not in known:
            raise UsageError(f"the mode {name!r} has no setting {key!r}; it has: {', '.join(known)}")
    values = dict(settings or {})
    if values.get("widths_m") is not None:
        values["widths_m"] = tuple(float(one) for one in values["widths_m"])
    mode = made(**values)
    _check(mode)
    return mode


def settings_of(mode: Mode) -> dict[str, Any]:
    """The kind and the settings of a mode, as JSON."""
    settings = asdict(mode)
    if "widths_m" in settings:
        settings["widths_m"] = list(settings["widths_m"])
    return {"mode": mode.kind, **settings}


def _check(mode: Mode) -> None:
    for name, value in asdict(mode).items():
        if value is None or name == "widths_m":
            continue
        wrong = not np.isfinite(value) or value < _LEAST.get(name, 0.0) or value > _MOST.get(name, np.inf)
        if wrong or (name in _ABOVE_ZERO and value == 0):
            low = f"above 0, not {value}" if name in _ABOVE_ZERO else f"from {_LEAST.get(name, 0)}, not {value}"
            high = f" and up to {_MOST[name]}" if name in _MOST else ""
            raise UsageError(f"{mode.kind}: {name} must be a number {low}{high}")
    for width in getattr(mode, "widths_m", ()):
        if not (np.isfinite(width) and width > 0.0):
            raise UsageError(f"{mode.kind}: the width {width} m is none; give metres above 0")
