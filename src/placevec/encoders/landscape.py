"""The landscape encoder: patches of land cover, elevation and the like to vectors, by a network trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.encoders.base import ModelCard, Vectors
from placevec.encoders.network import NetworkEncoder, fixed_batches, seeded
from placevec.errors import DataError, SchemaError
from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig
from placevec.provenance import Space
from placevec.sources.classes import ClassTable

BATCH = 256  # patches at a time, always as many, see `fixed_batches`
HOMOGENEOUS = 0.95
"""A patch of which one class holds more than this share is flagged; it is embedded like all others."""
RESIDUAL_SPREAD = 3.0
"""How much smaller than statistics the features of the residual part enter the head, where there are both."""

Patches = Mapping[str, NDArray[Any]]


class LandscapeEncoder(NetworkEncoder):
    """Patches to vectors, compared by cosine; their length counts in a probe.

    The card's recipe holds the table of classes of each layer, so that indices can be told apart for ever.
    """

    config_type = LandscapeConfig
    net_type = LandscapeNet

    @classmethod
    def untrained(cls, config: LandscapeConfig, seed: int = 0, patches: Patches | None = None) -> LandscapeEncoder:
        """The encoder with random weights: the baseline that shows what training adds.

        Args:
            config: its shape.
            seed: of the weights.
            patches: {layer: (n, p, p)} from which the scales within the network are taken.
        """
        net = seeded(lambda: LandscapeNet(config), seed).eval()
        if patches is not None:
            set_feature_statistics(net, patches)
        space = Space.mint(config.dims, note="an untrained landscape encoder")
        return cls(config, net, landscape_card(config, space, name="untrained landscape encoder", seed=seed))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of patches.

        Args:
            data: for each layer (n, p, p): uint8 indices of classes, 0 for nothing; or values, NaN for nothing.

        Raises:
            UsageError: a layer is missing.
            SchemaError: a layer has another shape or type.
            DataError: a class that the encoder does not know.
        """
        given = {layer.name: self.take(data, layer.name) for layer in self.config.layers}
        patches = checked(given, self.config)
        count = len(next(iter(patches.values())))
        out = np.empty((count, self.dims), dtype=np.float32)
        # Batches of equal size go as one tensor of row numbers, so that layers of different types stay beside it.
        rows = torch.arange(count)

        def answer(part: Tensor) -> Tensor:
            found: Tensor = self.net({name: values[part].to(self.device) for name, values in patches.items()})
            return found

        done = 0
        for vectors in fixed_batches(answer, rows, BATCH, torch.device("cpu")):
            out[done : done + len(vectors)] = vectors
            done += len(vectors)
        return out

    @property
    def flag_columns(self) -> dict[str, pa.DataType]:
        """What is said of a patch beside its vector, of the first layer of classes; nothing without one."""
        if self._classes is None:
            return {}
        return {"homogeneous": pa.bool_(), "main_class": pa.string(), "main_share": pa.float32()}

    def flags(self, data: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """The most frequent class of each patch, its share of all pixels, and whether that is nearly all."""
        layer = self._classes
        if layer is None:
            return {}
        patches = _layer(np.asarray(self.take(data, layer.name)), layer, self.config.pixels)
        pixels = self.config.pixels**2
        known = _counts(patches.reshape(len(patches), pixels), layer.classes)[:, 1:]
        main = known.argmax(axis=1)
        share = known.max(axis=1) / pixels
        names = np.array([*self._names(layer), ""], dtype=object)
        named = np.where(share > 0, main, len(names) - 1)
        return {
            "homogeneous": pa.array(share > HOMOGENEOUS),
            "main_class": pa.array(names[named].tolist(), pa.string()),
            "main_share": pa.array(share.astype(np.float32)),
        }

    @property
    def _classes(self) -> PlaneConfig | None:
        return next((layer for layer in self.config.layers if layer.classes), None)

    def _names(self, layer: PlaneConfig) -> Sequence[str]:
        table = self.class_tables().get(layer.name)
        return [f"class {i + 1}" for i in range(layer.classes)] if table is None else table.names

    def class_tables(self) -> dict[str, ClassTable]:
        """The tables of classes of the layers, as they were when the encoder was trained."""
        given = dict(self.card.recipe.get("classes", {}))
        return {name: ClassTable.from_json(value) for name, value in given.items()}

    def check_patches(self, patches: Any) -> None:
        """SchemaError unless a source of patches is of the layers, classes and size that the encoder was made for.

        Args:
            patches: with `layers`, `pixels` and `ground_m`, as `sources.patches` has them.
        """
        ground_m = float(self.card.recipe.get("ground_m", 0.0))
        pixels = self.config.pixels
        if patches.pixels != pixels or (ground_m and abs(patches.ground_m / ground_m - 1.0) > 1e-6):
            ground = f"{ground_m:g} m and " if ground_m else ""
            option = f"--ground {ground_m:g}m " if ground_m else ""
            raise SchemaError(
                f"the encoder reads patches of {ground}{pixels} pixels a side, not of {patches.ground_m:g} m and "
                f"{patches.pixels}: give {option}--pixels {pixels}"
            )
        layers = patches.layers
        there = {layer.name: layer for layer in layers}
        tables = self.class_tables()
        for wanted in self.config.layers:
            layer = there.get(wanted.name)
            if layer is None:
                raise SchemaError(
                    f"the encoder reads the layer {wanted.name!r}; the patches have {', '.join(there) or 'none'}"
                )
            if bool(wanted.classes) != (layer.classes is not None):
                kinds = ("values", "classes") if layer.classes is not None else ("classes", "values")
                raise SchemaError(f"the layer {wanted.name!r} was {kinds[0]} in training, and is {kinds[1]} here")
            known = tables.get(wanted.name)
            if known is not None and layer.classes is not None and tuple(known.codes) != tuple(layer.classes.codes):
                raise SchemaError(
                    f"the layer {wanted.name!r} has the classes of {layer.classes.name}, the encoder was trained with "
                    f"those of {known.name}: read it with that table"
                )


def landscape_card(config: LandscapeConfig, space: Space, **more: Any) -> ModelCard:
    """The card of a landscape encoder of this shape."""
    card = ModelCard(
        kind="landscape",
        space=space,
        tower="landscape",
        config=config.to_json(),
        inputs=tuple(layer.name for layer in config.layers),
    )
    return replace(card, **more)


def checked(data: Patches, config: LandscapeConfig) -> dict[str, Tensor]:
    """The layers of patches as tensors.

    Raises:
        SchemaError: another shape, number or type than the network reads.
        DataError: a class that the table lacks.
    """
    count = -1
    out = {}
    for layer in config.layers:
        patches = _layer(np.asarray(data[layer.name]), layer, config.pixels)
        if count not in (-1, len(patches)):
            raise SchemaError(f"the layer {layer.name!r} has {len(patches)} patches, the others have {count}")
        count = len(patches)
        out[layer.name] = torch.from_numpy(np.ascontiguousarray(patches))
    return out


def _layer(patches: NDArray[Any], layer: PlaneConfig, pixels: int) -> NDArray[Any]:
    """The patches (n, pixels, pixels) of a layer as bytes or as float32; see `checked`."""
    if patches.ndim != 3 or patches.shape[1:] != (pixels, pixels):
        raise SchemaError(
            f"the layer {layer.name!r} has patches of the shape {patches.shape[1:]}, the encoder reads "
            f"{pixels} x {pixels} pixels"
        )
    if not layer.classes:
        if patches.dtype.kind not in "iuf":
            raise SchemaError(f"the layer {layer.name!r} holds {patches.dtype}; values are numbers")
        return patches.astype(np.float32, copy=False)
    if patches.dtype.kind not in "iu":
        raise SchemaError(f"the layer {layer.name!r} holds {patches.dtype}; classes are whole numbers")
    odd = [int(found) for found in (patches.max(initial=0), patches.min(initial=0)) if not 0 <= found <= layer.classes]
    if odd:
        raise DataError(f"the layer {layer.name!r} holds class {odd[0]}, the encoder knows 1 to {layer.classes}")
    return patches.astype(np.uint8, copy=False)


def set_feature_statistics(net: LandscapeNet, patches: Patches) -> Tensor:
    """Take mean and spread of what the network's head reads from patches; the features (n, count) as they are.

    The running averages of the residual part are taken from the same patches first.
    """
    tensors = checked(patches, net.config)
    count = len(next(iter(tensors.values())))
    parts = [slice(start, start + BATCH) for start in range(0, count, BATCH)]

    def run(part: slice) -> Tensor:
        return net.features({name: values[part] for name, values in tensors.items()})

    with torch.no_grad():
        _set_running_averages(net, [lambda part=part: run(part) for part in parts])
        found = torch.cat([run(part) for part in parts])
        set_scales(net, found)
    return found


def set_scales(net: LandscapeNet, features: Tensor) -> None:
    """Mean and spread of features (n, count); what hardly varies is not blown up."""
    net.mean.copy_(features.mean(dim=0))
    spread = features.std(dim=0, correction=0)
    net.spread.copy_(spread + 0.02)
    if net.statistics is not None:
        # Random convolutions say the same many times over: at full weight they would drown what statistics say.
        net.spread[net.statistics.count :] *= RESIDUAL_SPREAD


def _set_running_averages(net: LandscapeNet, runs: Sequence[Any]) -> None:
    """The statistics of batch normalisations as plain averages over `runs`."""
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    for run in runs:
        run()
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.eval()


def _counts(flat: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """How often 0 and each class stand in rows (n, pixels), (n, classes + 1)."""
    shifted = flat.astype(np.int64) + np.arange(len(flat))[:, None] * (classes + 1)
    return np.bincount(shifted.ravel(), minlength=len(flat) * (classes + 1)).reshape(len(flat), classes + 1)
