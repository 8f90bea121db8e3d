"""Signatures of landscapes as encoders that learn nothing: shares of classes, and which classes touch.

Both give probabilities. Stored for search are their square roots, which have length 1: the cosine of two of them is
the Bhattacharyya coefficient of the distributions, and the square of each component is the probability again, from
which `placevec.measure.signatures` computes the exact Jensen-Shannon distance.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Carded, ModelCard, Vectors
from placevec.errors import SchemaError, UsageError
from placevec.features.signatures.counts import Counts, class_counts, joint_counts, pair_counts, pair_rows
from placevec.features.signatures.layers import SignatureLayer
from placevec.provenance import Space, digest_json

NOTHING = "nothing"
"""The last component: 1 for a patch in which there was nothing to count, else 0."""


class _Signature(Carded, ABC):
    """What both have in common: parts, each a distribution, with equal weight, and one component for nothing."""

    def __init__(
        self, kind: str, name: str, layers: Sequence[SignatureLayer], names: list[str], config: dict[str, Any]
    ) -> None:
        self.layers = tuple(layers)
        self.names = (*names, NOTHING)
        whole = {"layers": [layer.to_json() for layer in layers], **config}
        # Fixed by this code and the tables of classes: equal tables, one Space, in whichever process.
        space = Space.published(f"placevec-{kind}-{digest_json(whole)[:12]}@1", len(self.names))
        super().__init__(
            ModelCard(
                kind=f"features:{kind}",
                space=space,
                tower=kind,
                config=whole,
                inputs=tuple(layer.name for layer in layers),
                normalized=True,
                name=name,
            )
        )

    def probabilities(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """The signatures (n, dims) as probabilities: each row adds up to 1."""
        indices = [layer.indices(self.take(data, layer.name)) for layer in self.layers]
        shapes = {layer.name: part.shape for layer, part in zip(self.layers, indices, strict=True)}
        if len(set(shapes.values())) > 1:
            raise SchemaError(f"the layers of the patches have different shapes, {shapes}: cut them on one grid")
        parts = [counts.astype(np.float64) for counts in self._counts(indices)]
        totals = [part.sum(axis=1, keepdims=True) for part in parts]
        # A part in which nothing was counted leaves its weight to the others; if there is none, that is the answer.
        counted = np.sum([total > 0 for total in totals], axis=0)
        shares = [part / np.where(total > 0, total * counted, 1.0) for part, total in zip(parts, totals, strict=True)]
        return np.concatenate([*shares, (counted == 0).astype(np.float64)], axis=1)

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of length 1: square roots of the probabilities.

        Args:
            data: for each layer (n, rows, columns): classes, 0 for nothing, or values, NaN for nothing.

        Raises:
            SchemaError: layers of different shapes, or a class that the table of classes lacks.
        """
        return np.sqrt(self.probabilities(data)).astype(np.float32)

    @abstractmethod
    def _counts(self, indices: list[NDArray[np.uint8]]) -> list[Counts]:
        """How often each class, or each meeting of classes, stands in the patches of each layer."""


class FractionsEncoder(_Signature):
    """The share of each class among the pixels of a patch that hold something.

    Of several layers, each is a distribution of its own, and all have equal weight.

    Args:
        layers: what is counted, see `SignatureLayer`.

    Attributes:
        names: of the components: the classes, behind the name of their layer where there are several.

    Raises:
        UsageError: no layer, or two of one name.
    """

    def __init__(self, layers: Sequence[SignatureLayer]) -> None:
        _check(layers)
        names = [_prefix(layer, layers) + name for layer in layers for name in layer.classes]
        super().__init__("fractions", "shares of classes", layers, names, {})

    def _counts(self, indices: list[NDArray[np.uint8]]) -> list[Counts]:
        return [class_counts(part, len(layer.classes))[:, 1:] for layer, part in zip(self.layers, indices, strict=True)]


class CooccurrenceEncoder(_Signature):
    """How often each two classes touch: the co-occurrence vector of pattern-based spatial analysis.

    Of one layer with K classes, the K (K + 1) / 2 probabilities that two adjacent pixels belong to a pair of classes:
    "cove" of Nowosad (2021), "Motif: an open-source R tool for pattern-based spatial analysis", Landscape Ecology 36.
    Of several, after his "incove" (the integrated co-occurrence vector): the co-occurrence of each layer, and for each
    two layers which classes stand at one pixel; all these parts have equal weight.

    Args:
        layers: what is counted, see `SignatureLayer`.
        neighbours: 4 (sides) or 8 (sides and corners).
        between: with several layers, count also which classes of two layers meet.

    Attributes:
        names: of the components: "a|b" for classes that touch, "layer:a&layer:b" for classes that meet.

    Raises:
        UsageError: no layer, two of one name, or other neighbours.
    """

    def __init__(self, layers: Sequence[SignatureLayer], neighbours: int = 4, between: bool = True) -> None:
        _check(layers)
        if neighbours not in (4, 8):
            raise UsageError(f"{neighbours} neighbours: a pixel has 4 (sides) or 8 (sides and corners)")
        self.neighbours = neighbours
        self.between = between and len(layers) > 1
        names = []
        for layer in layers:
            first, second = pair_rows(len(layer.classes))
            prefix = _prefix(layer, layers)
            names += [
                f"{prefix}{layer.classes[a - 1]}|{layer.classes[b - 1]}"
                for a, b in zip(first.tolist(), second.tolist(), strict=True)
            ]
        if self.between:
            for one, other in itertools.combinations(layers, 2):
                names += [f"{one.name}:{a}&{other.name}:{b}" for a in one.classes for b in other.classes]
        config = {"neighbours": neighbours, "between": self.between}
        super().__init__("cooccurrence", "co-occurrence of classes", layers, names, config)

    def _counts(self, indices: list[NDArray[np.uint8]]) -> list[Counts]:
        sizes = [len(layer.classes) for layer in self.layers]
        parts = [pair_counts(part, size, self.neighbours) for part, size in zip(indices, sizes, strict=True)]
        if self.between:
            for one, other in itertools.combinations(range(len(sizes)), 2):
                parts.append(joint_counts(indices[one], indices[other], (sizes[one], sizes[other])))
        return parts


def _check(layers: Sequence[SignatureLayer]) -> None:
    if not layers:
        raise UsageError("a signature counts the classes of at least one layer; give its name and classes")
    names = [layer.name for layer in layers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two layers are called {twice!r}; name each once")


def _prefix(layer: SignatureLayer, layers: Sequence[SignatureLayer]) -> str:
    return f"{layer.name}:" if len(layers) > 1 else ""
