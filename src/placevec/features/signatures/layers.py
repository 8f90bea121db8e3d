"""What a signature counts: the classes of a layer of a patch; values of a continuous layer fall into bins."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, SchemaError, UsageError

SAMPLE = 2048  # patches whose values say where the borders of bins lie


@dataclass(frozen=True)
class SignatureLayer:
    """The classes of one layer, and how its values become their numbers.

    Raises:
        UsageError: no class, more than 255, two of one name, or borders that do not part the classes.
    """

    name: str  # the key of the layer in a batch
    classes: tuple[str, ...]  # names of the classes 1 to K; 0 stands for nothing
    edges: tuple[float, ...] | None = None  # inner borders of the bins of a continuous layer; None: it is categorical

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 255:
            raise UsageError(f"layer {self.name!r} has {len(self.classes)} classes; a signature counts 1 to 255")
        twice = next((name for name in self.classes if self.classes.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"layer {self.name!r} has two classes called {twice!r}; give each its own name")
        if self.edges is not None and (
            len(self.edges) != len(self.classes) - 1
            or not all(np.isfinite(self.edges))
            or any(b <= a for a, b in itertools.pairwise(self.edges))
        ):
            raise UsageError(f"layer {self.name!r}: {self.edges} do not part {len(self.classes)} bins; let them rise")

    @classmethod
    def bins(cls, name: str, values: NDArray[Any], bins: int = 8) -> SignatureLayer:
        """A continuous layer in bins of equally many values: the borders are quantiles of `values`, for all patches.

        Equal quantiles make fewer bins. A value on a border belongs to the upper bin.

        Raises:
            DataError: no value is finite.
            UsageError: fewer than 2 bins or more than 255.
        """
        if not 2 <= bins <= 255:
            raise UsageError(f"{bins} bins for layer {name!r}: give 2 to 255")
        flat = np.asarray(values, dtype=np.float64).reshape(-1)
        flat = flat[np.isfinite(flat)]
        if not len(flat):
            raise DataError(f"layer {name!r} holds no value where it was sampled: leave the layer out")
        found = np.unique(np.quantile(flat, np.arange(1, bins) / bins))
        edges = tuple(float(edge) for edge in found[found > flat.min()])
        shown = [f"{edge:.6g}" for edge in edges]
        if len(set(shown)) < len(shown):
            shown = [repr(edge) for edge in edges]
        if not shown:
            return cls(name, ("all",), ())
        inner = [f"{a}..{b}" for a, b in itertools.pairwise(shown)]
        return cls(name, (f"<{shown[0]}", *inner, f">={shown[-1]}"), edges)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SignatureLayer:
        """Read what `to_json` wrote; UsageError if it is not that."""
        try:
            edges = value.get("edges")
            return cls(
                str(value["name"]),
                tuple(str(name) for name in value["classes"]),
                None if edges is None else tuple(float(edge) for edge in edges),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"not a layer of a signature: {value!r}; give its name and classes") from error

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        edges = None if self.edges is None else list(self.edges)
        return {"name": self.name, "classes": list(self.classes), "edges": edges}

    def indices(self, patches: NDArray[Any]) -> NDArray[np.uint8]:
        """The classes (m, rows, columns) of the pixels of patches: 0 where nothing is, else 1 to K.

        Raises:
            SchemaError: another shape, values that are no whole numbers, or a class that does not exist.
        """
        if patches.ndim != 3:
            raise SchemaError(f"layer {self.name!r} has the shape {patches.shape}; patches are (m, rows, columns)")
        if self.edges is not None:
            values = np.asarray(patches, dtype=np.float64)
            binned = np.searchsorted(np.asarray(self.edges), values, side="right") + 1
            return np.where(np.isfinite(values), binned, 0).astype(np.uint8)
        if patches.dtype.kind not in "iub":
            raise SchemaError(f"layer {self.name!r} holds {patches.dtype}; classes are whole numbers, 0 for nothing")
        if patches.size and not 0 <= int(patches.min()) <= int(patches.max()) <= len(self.classes):
            worst = int(patches.max()) if int(patches.max()) > len(self.classes) else int(patches.min())
            raise SchemaError(f"layer {self.name!r} holds class {worst}; it has the classes 1 to {len(self.classes)}")
        return patches.astype(np.uint8, copy=False)


def layers_of(
    source: Any, names: Sequence[str] | None = None, *, bins: int = 8, sample: int = SAMPLE
) -> tuple[SignatureLayer, ...]:
    """The layers of a source of patches, ready to be counted.

    Args:
        source: a source with `layers`, each with a `name` and a class table `classes` (with `names`) or None, as
            `sources.patches` has them. Of a continuous layer a few patches, evenly taken, are read for its bins.
        names: of which layers; absent, the categorical ones, or all where there is none.
        bins: of a continuous layer.
        sample: patches that are read for the borders of bins, at most.

    Raises:
        UsageError: the source has no layers, or none of that name.
    """
    known = {str(layer.name): layer for layer in getattr(source, "layers", ())}
    if not known:
        raise UsageError(f"{type(source).__name__} has no layers: signatures are counted on patches of rasters")
    wanted = names or [name for name, layer in known.items() if layer.classes is not None] or list(known)
    odd = next((name for name in wanted if name not in known), None)
    if odd is not None:
        raise UsageError(f"there is no layer {odd!r}; the patches have {', '.join(known)}")
    continuous = [name for name in wanted if known[name].classes is None]
    values: Mapping[str, NDArray[Any]] = {}
    if continuous:
        count = len(source.places())
        rows = np.unique(np.linspace(0, max(count - 1, 0), min(sample, count)).astype(np.int64))
        values = source.read(rows).data
    return tuple(
        SignatureLayer.bins(name, values[name], bins)
        if name in continuous
        else SignatureLayer(name, _names(known[name].classes))
        for name in wanted
    )


def _names(table: Any) -> tuple[str, ...]:
    """The names of a table's classes; those that stand twice in a legend are told apart by their numbers."""
    names = [str(name) for name in table.names]
    return tuple(f"{name} ({at})" if names.count(name) > 1 else name for at, name in enumerate(names, 1))
