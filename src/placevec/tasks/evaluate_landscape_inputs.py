"""What `evaluate landscape` compares: tables of the same patches, signatures of them, and what there is to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.features.signatures import CooccurrenceEncoder, FractionsEncoder, SignatureLayer, layers_of
from placevec.features.signatures.masking import centre_classes, default_side, mask_centre
from placevec.measure.neighbours import Nearness, by_jensen_shannon, by_vectors
from placevec.measure.signatures import probabilities
from placevec.provenance import Saw
from placevec.sources.base import Source
from placevec.table import EmbeddingTable, Places
from placevec.tasks.evaluate_features import read_tables

Kind = Literal["learned", "untrained", "fixed"]
Progress = Callable[[str, int, int], None]
STATISTICS = ("mean", "sd", "range", "centre")
FRACTIONS, COOCCURRENCE = "class fractions", "co-occurrence"
_AT_ONCE = 1024
_SPACES = ("published:placevec-fractions-", "published:placevec-cooccurrence-")


@dataclass(frozen=True, eq=False)
class Representation:
    """Vectors of all rows."""

    name: str  # as reports show it
    kind: Kind  # "fixed": a signature, which nobody learned
    vectors: NDArray[Any]  # (n, d)
    metric: str = "cosine"  # by which they compare
    saw: tuple[Saw, ...] = ()  # labels that what made them was fitted on
    signature: bool = False  # whether they are roots of probabilities

    @property
    def label(self) -> str:
        """The name as the tables of figures have it."""
        return f"untrained {self.name}" if self.kind == "untrained" else self.name

    def nearness(self) -> dict[str, Nearness]:
        """How near rows are by it, by the name of the row: of a signature by two measures."""
        own = by_vectors(self.vectors, self.metric)
        if not self.signature:
            return {self.label: own}
        exact = by_jensen_shannon(probabilities(self.vectors))
        return {f"{self.label} · Jensen-Shannon": exact, f"{self.label} · Bhattacharyya": own}


@dataclass(frozen=True, eq=False)
class Target:
    """What there is to predict at all rows."""

    name: str  # as reports show it
    values: NDArray[Any]  # (n,) numbers, NaN for none; or names of classes, "" for none
    masked: bool = False  # whether it is what was hidden from the patches that are compared for it
    columns: tuple[str, ...] = ()  # labels that nothing may have been fitted on


@dataclass(frozen=True, eq=False)
class Landscape:
    """All that is compared, row by row."""

    places: Places  # n rows, in all tables
    whole: tuple[Representation, ...]  # of the patches as they are
    masked: tuple[Representation, ...]  # of the patches with their centres hidden
    targets: tuple[Target, ...]
    ground_m: float  # the widest footprint, in metres; 0 if nobody tells
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def read_landscape(
    tables: Any,
    *,
    untrained: Any = (),
    masked: Any = (),
    untrained_masked: Any = (),
    patches: Any = None,
    targets: Sequence[str] | None = None,
    signature_layers: Sequence[str] | None = None,
    neighbours: int = 4,
    mask_pixels: int | None = None,
    progress: Progress | None = None,
) -> Landscape:
    """Read tables and patches, and keep the rows that all of them have; see `evaluate_landscape`.

    Raises:
        UsageError: nothing to compare, a name that stands twice, or a target that there is not.
        SchemaError: no row in common.
    """
    learned = read_tables(tables)
    idle, hidden, idle_hidden = (read_tables(one) for one in (untrained, masked, untrained_masked))
    for given, of, what in ((hidden, learned, "masked"), (idle_hidden, idle, "untrained_masked")):
        odd = next((name for name in given if name not in of), None)
        if odd is not None:
            raise UsageError(f"{what}: there is no table called {odd!r} of whole patches; they go by the same names")
    source = _source(patches)
    if not learned and source is None:
        raise UsageError("nothing to compare: give tables as NAME=PATH, or a patch set for the signatures")
    every = [*learned.values(), *idle.values(), *hidden.values(), *idle_hidden.values()]
    all_places = source.places() if source is not None else every[0].places()
    shared = np.ones(len(all_places), dtype=bool)
    for table in every:
        shared &= table.rows_of(all_places.ids) >= 0
    rows = np.flatnonzero(shared & all_places.located)
    if not len(rows):
        raise SchemaError("the tables and the patches have no id in common: embed these very patches")
    content = _Content(source, targets, signature_layers, neighbours, mask_pixels, bool(hidden))
    # Patches that cannot be read drop out for everybody.
    rows = content.read(rows, progress)
    places = all_places.take(rows)
    notes = []
    if len(rows) < len(all_places):
        notes.append(f"{len(all_places) - len(rows):,} of {len(all_places):,} rows are not in all tables: left out")
    whole = [
        *content.signatures(False),
        *_of_tables(idle, places, "untrained"),
        *_of_tables(learned, places, "learned"),
    ]
    behind = [
        *(content.signatures(True) if content.masks else ()),
        *_of_tables(idle_hidden, places, "untrained"),
        *_of_tables(hidden, places, "learned"),
    ]
    labels = [one.label for one in whole]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UsageError(f"two representations are called {twice!r}: put NAME= before the table")
    layouts = [table.meta.chip_layout or {} for table in every]
    ground = max(
        [float(getattr(source, "ground_m", 0.0) or 0.0), *(float(one.get("ground_m", 0.0)) for one in layouts)]
    )
    columns = {name: table for table in every for name in table.attributes}
    found = [*content.targets(), *_columns(content.columns, places, columns)]
    if content.missing:
        notes.append(f"the centre of {content.missing} is predicted from masked patches alone: give masked tables")
    return Landscape(places, tuple(whole), tuple(behind), tuple(found), ground, tuple(notes), content.about)


def _source(given: Any) -> Source | None:
    if given is None:
        return None
    if isinstance(given, Source):
        return given
    from placevec.sources.patches import PatchSet

    return PatchSet(Path(given))


def _of_tables(tables: Mapping[str, EmbeddingTable], places: Places, kind: Kind) -> list[Representation]:
    found = []
    for name, table in tables.items():
        signature = table.space.id.startswith(_SPACES)
        found.append(
            Representation(
                name.removesuffix("-untrained") if kind == "untrained" else name,
                "fixed" if signature else kind,
                table.vectors(table.rows_of(places.ids)),
                table.space.metric,
                tuple(table.meta.saw),
                signature,
            )
        )
    return found


def _columns(names: Sequence[str], places: Places, tables: Mapping[str, EmbeddingTable]) -> list[Target]:
    found = []
    for name in names:
        if places.has(name):
            values = places.column(name)
        elif name in tables:
            values = tables[name].column(name)[tables[name].rows_of(places.ids)]
        else:
            known = ", ".join(sorted({*places.attributes, *tables})) or "none"
            raise UsageError(f"the target {name!r} is neither LAYER:{'|'.join(STATISTICS)} nor a column ({known})")
        found.append(Target(name, values, columns=(name,)))
    return found


class _Content:
    """What is computed from patches while they are read once: signatures and targets."""

    def __init__(
        self,
        source: Source | None,
        targets: Sequence[str] | None,
        layers: Sequence[str] | None,
        neighbours: int,
        mask_pixels: int | None,
        masks: bool,
    ) -> None:
        self.source = source
        self.known = {str(layer.name): layer for layer in getattr(source, "layers", ())}
        self.wanted, self.columns, self.missing = self._targets(targets, masks)
        self.masks = any(what == "centre" for _, what in self.wanted)
        self._values: dict[tuple[str, str], list[NDArray[Any]]] = {one: [] for one in self.wanted}
        self._made: dict[tuple[str, bool], list[NDArray[np.float32]]] = {}
        self._encoders: dict[str, FractionsEncoder | CooccurrenceEncoder] = {}
        self.about: dict[str, Any] = {}
        if source is None:
            return
        pixels = int(getattr(source, "pixels", 0)) or 1
        self.side = mask_pixels or default_side(pixels)
        counted = layers_of(source, layers)
        self._encoders = {
            FRACTIONS: FractionsEncoder(counted),
            COOCCURRENCE: CooccurrenceEncoder(counted, neighbours),
        }
        self._classes = {name: self._layer(name) for name, what in self.wanted if what == "centre"}
        self.about = {
            "signature_layers": [layer.name for layer in counted],
            "neighbours": neighbours,
            "masked_pixels": self.side if self.masks else None,
        }

    def read(self, rows: NDArray[np.int64], progress: Progress | None) -> NDArray[np.int64]:
        """Read the patches of `rows`; returns those that could be read."""
        if self.source is None:
            return rows
        kept = []
        for at in range(0, len(rows), _AT_ONCE):
            batch = self.source.read(rows[at : at + _AT_ONCE])
            order = np.argsort(batch.rows)
            data = {name: values[order] for name, values in batch.data.items()}
            kept.append(batch.rows[order])
            self._take(data)
            if progress is not None:
                progress("patches", min(at + _AT_ONCE, len(rows)), len(rows))
        found = np.concatenate(kept) if kept else rows[:0]
        if not len(found):
            raise SchemaError("none of the patches could be read")
        return found

    def signatures(self, masked: bool) -> list[Representation]:
        """The signatures of the patches that were read, whole or with their centres hidden."""
        return [
            Representation(name, "fixed", np.concatenate(self._made[name, masked]), signature=True)
            for name in self._encoders
        ]

    def targets(self) -> list[Target]:
        """The targets of the patches that were read."""
        found = []
        for (name, what), parts in self._values.items():
            if what != "centre":
                values: NDArray[Any] = np.concatenate(parts)
            else:
                values = np.array(["", *self._classes[name].classes], dtype=object)[np.concatenate(parts)]
            found.append(Target(f"{name} {what}", values, what == "centre", (name, f"{name} {what}")))
        return found

    def _take(self, data: Mapping[str, NDArray[Any]]) -> None:
        forms = [(False, data)]
        if self.masks:
            hidden = {name: mask_centre(data[name], self.side) for name in self.known}
            forms.append((True, hidden))
        for masked, form in forms:
            for name, encoder in self._encoders.items():
                self._made.setdefault((name, masked), []).append(encoder.encode(form))
        for name, what in self.wanted:
            if what != "centre":
                self._values[name, what].append(_statistic(data[name], what))
                continue
            layer = self._classes[name]
            self._values[name, what].append(centre_classes(layer.indices(data[name]), self.side, len(layer.classes)))

    def _targets(self, given: Sequence[str] | None, masks: bool) -> tuple[list[tuple[str, str]], list[str], str]:
        """(layer, statistic) pairs, columns, and the layers whose centres cannot be asked for."""
        if given is None:
            continuous = [name for name, layer in self.known.items() if layer.classes is None]
            categorical = [name for name, layer in self.known.items() if layer.classes is not None]
            pairs = [(name, what) for name in continuous for what in ("mean", "sd")]
            pairs += [(name, "centre") for name in categorical if masks]
            return pairs, [], "" if masks else ", ".join(categorical)
        pairs, columns = [], []
        for text in dict.fromkeys(given):
            name, colon, what = text.partition(":")
            if not colon:
                columns.append(text)
                continue
            if name not in self.known or what not in STATISTICS:
                known = ", ".join(self.known) or "none: give patches"
                raise UsageError(f"the target {text!r}: write LAYER:{'|'.join(STATISTICS)}; the layers are {known}")
            if (self.known[name].classes is not None) != (what == "centre"):
                fitting = "centre" if what != "centre" else "mean, sd or range"
                raise UsageError(f"the target {text!r}: of {name} there is {fitting}")
            if what == "centre" and not masks:
                raise UsageError(f"the target {text!r} needs tables of patches with their centres masked (masked)")
            pairs.append((name, what))
        return pairs, columns, ""

    def _layer(self, name: str) -> SignatureLayer:
        assert self.source is not None
        return layers_of(self.source, (name,))[0]


def _statistic(values: NDArray[Any], what: str) -> NDArray[np.float64]:
    """Of the pixels (m, ...) that hold something; NaN for a patch in which less than half do."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    there = np.isfinite(flat)
    enough = there.mean(axis=1) >= 0.5
    counts = np.maximum(there.sum(axis=1), 1)
    mean = np.where(there, flat, 0.0).sum(axis=1) / counts
    if what == "mean":
        found = mean
    elif what == "sd":
        found = np.sqrt((np.where(there, flat - mean[:, None], 0.0) ** 2).sum(axis=1) / counts)
    else:
        found = np.where(there, flat, -np.inf).max(axis=1) - np.where(there, flat, np.inf).min(axis=1)
    return np.where(enough, found, np.nan)
