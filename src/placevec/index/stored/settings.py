"""The kinds of index that can be kept, and the numbers that tune them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from placevec.errors import UsageError

Kind = Literal["flat", "hnsw", "ivf-sq8", "ivf"]
KINDS: tuple[str, ...] = get_args(Kind)

# Up to this many rows every vector is compared: some milliseconds, and nothing to build.
FLAT_ROWS = 100_000
_OF_KIND = {"flat": (), "hnsw": ("m", "ef", "ef_build"), "ivf-sq8": ("cells", "probes"), "ivf": ("cells", "probes")}


@dataclass(frozen=True)
class IndexSettings:
    """What is built, and how it is searched.

    Raises:
        UsageError: an unknown kind, or a number below 1.
    """

    kind: str = "ivf-sq8"  # flat: all are compared; hnsw: a graph; ivf-sq8, ivf: cells, with 8 bits a component or 16
    cells: int | None = None  # of ivf: how many; by default about 4 √n, a power of 2
    probes: int | None = None  # of ivf: the cells that a query looks into; by default as many as are found to be enough
    m: int = 24  # of hnsw: links of a node (twice as many on the ground level); 16 needed a third more nodes in sight
    ef: int | None = None  # of hnsw: nodes that a query keeps in sight; likewise
    ef_build: int = 80  # of hnsw: the same while it is built; 40 lost 1.5 % of the neighbours at 100,000 rows

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"there is no index of the kind {self.kind!r}; choose one of {', '.join(KINDS)}")
        for name in ("cells", "probes", "m", "ef", "ef_build"):
            value = getattr(self, name)
            if value is not None and value < (2 if name == "m" else 1):
                raise UsageError(f"{name} is {value} in an index of the kind {self.kind!r}: give a larger number")

    @classmethod
    def chosen(cls, rows: int, kind: str | None = None, **given: int | None) -> IndexSettings:
        """The settings for a table of `rows` rows; what is None takes its default.

        Raises:
            UsageError: a number was given that the kind does not have.
        """
        settings = cls(kind or ("flat" if rows <= FLAT_ROWS else "ivf-sq8"))
        return settings.with_(**given)

    def with_(self, **given: int | None) -> IndexSettings:
        """These settings with the numbers given changed; None leaves one as it is."""
        wanted: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        for name in wanted:
            if name not in _OF_KIND[self.kind]:
                own = ", ".join(_OF_KIND[self.kind]) or "none"
                raise UsageError(f"{name} means nothing to an index of the kind {self.kind!r}; its numbers: {own}")
        return replace(self, **wanted)

    def to_json(self) -> dict[str, Any]:
        """The kind and the numbers that mean something to it."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in _OF_KIND[self.kind]}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> IndexSettings:
        """Read what `to_json` wrote; TypeError if it is not that."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: item for name, item in value.items() if name in known})
