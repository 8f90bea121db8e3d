"""GeoCLIP's location encoder (Vivanco Cepeda et al., NeurIPS 2023; github.com/VicenteVivan/geo-clip, MIT).

Its `location_encoder_weights.pth` is a state dict: for each scale i the random matrix ``LocEnc{i}.capsule.0.b`` (F, 2),
the hidden layers ``LocEnc{i}.capsule.1``, ``.3``, ``.5`` and the last layer ``LocEnc{i}.head.0``. The state of the
whole model, in which those names follow ``location_encoder.``, is taken too; its image tower and its queue are left.

GeoCLIP's inputs are (lat, lon). It projects them to Equal Earth at once, and from there on works with (x, y), x being
along the equator: the columns of `b` are those of x and y, as in our `RandomFourier`. So the swap of coordinates is one
of names, not of weights: our encoder takes (lon, lat), and no weight changes its place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from placevec.encoders.importers.base import (
    ImportedModel,
    Weight,
    Weights,
    location_encoder,
    published,
    read_torch,
    source,
    tensors,
)
from placevec.encoders.location import LocationConfig
from placevec.errors import CheckpointError, UsageError
from placevec.nn.capsules import CapsulesConfig
from placevec.nn.position import RandomFourier

WHAT = "GeoCLIP location encoder"

_LOCATION = re.compile(r"(?:location_encoder\.)?(LocEnc(\d+)\..+)")
_OTHER = re.compile(r"image_encoder\..+|gps_queue(?:_ptr)?")
_HIDDEN = re.compile(r"LocEnc0\.capsule\.(\d+)\.weight")


def read_geoclip(paths: Sequence[str | Path]) -> ImportedModel:
    """The location encoder of GeoCLIP.

    Args:
        paths: the location weights, or the state of the whole model; by wish `logit_scale_weights.pth` as well.

    Raises:
        CheckpointError: a file is damaged, of another architecture, or has weights that are unknown.
        UsageError: there is not one file of location weights.
    """
    path, state, scale = _read([Path(each) for each in paths])
    names, found, ignored = _parts(state, path)
    scale = found if scale is None else scale
    weights = Weights(names, path, WHAT)
    matrices, layers, shape = _capsules(weights, path)
    scales, frequencies, capacity, depth, dims = shape
    sigmas = tuple(_deviation(matrix) for matrix in matrices)
    config = LocationConfig(
        position=RandomFourier(sigmas, frequencies),
        nn=CapsulesConfig(scales=scales, capacity=capacity, layers=depth),
        dims=dims,
        normalize=False,
    )
    recipe: dict[str, Any] = {"import": "geoclip", "sigmas": list(sigmas), "frequencies": frequencies}
    if scale is not None:
        recipe["logit_scale"] = scale
    origin = source(path, "MIT", "GeoCLIP (Vivanco Cepeda et al., 2023)")
    encoder = location_encoder(
        config,
        layers,
        buffers={f"position.scales.{index}.b": matrix for index, matrix in enumerate(matrices)},
        where=path,
        space=published("geoclip", origin, dims),
        name="geoclip",
        licence="MIT",
        recipe=recipe,
        parents=(origin.sha256,),
        sources=(origin,),
    )
    notes = ["coordinates are (lon, lat) here, where GeoCLIP's own program takes (lat, lon)"]
    notes.append("vectors are not normalised, as in GeoCLIP")
    if ignored:
        notes.append(f"{ignored} weights of the image tower and the queue were left out")
    return ImportedModel(encoder, notes)


def _read(paths: list[Path]) -> tuple[Path, dict[str, Tensor], float | None]:
    """The file of location weights, its state, and the temperature of a file of its own."""
    found: list[tuple[Path, dict[str, Tensor]]] = []
    scale: float | None = None
    for path in paths:
        content = read_torch(path)
        if isinstance(content, Tensor):
            if content.numel() != 1:
                raise CheckpointError(f"{path} holds one tensor of {tuple(content.shape)}: it is no {WHAT}")
            scale = float(content.detach())
            continue
        if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
            content = content["state_dict"]
        found.append((path, tensors(content, path, WHAT)))
    if len(found) != 1:
        raise UsageError(
            f"GeoCLIP's location weights are one file, not {len(found)}: give location_encoder_weights.pth, "
            "and by wish logit_scale_weights.pth"
        )
    return *found[0], scale


def _parts(state: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], float | None, int]:
    """The location weights, the log of the inverse temperature, and how many other weights there are."""
    location: dict[str, Tensor] = {}
    scale: float | None = None
    ignored = 0
    for name, value in state.items():
        found = _LOCATION.fullmatch(name)
        if found:
            location[found[1]] = value
        elif _OTHER.fullmatch(name):
            ignored += 1
        elif name == "logit_scale" and value.numel() == 1:
            scale = float(value.detach())
        else:
            raise CheckpointError(
                f"{path} has the unknown weight {name!r}: a {WHAT} has none, so its vectors would be wrong"
            )
    return location, scale, ignored


def _capsules(weights: Weights, path: Path) -> tuple[list[Tensor], list[Weight], tuple[int, int, int, int, int]]:
    """The random matrices, the linear layers capsule by capsule, and (scales, frequencies, capacity, layers, dims)."""
    names = weights.names()
    scales = len({name.partition(".")[0] for name in names})
    # An nn.Sequential of encoding, linear, ReLU, linear, ReLU ...: the linear layers have odd numbers.
    depth = max((int(found[1]) for name in names if (found := _HIDDEN.fullmatch(name))), default=0) // 2 + 1
    matrices: list[Tensor] = []
    layers: list[Weight] = []
    frequencies: int | None = None
    capacity: int | None = None
    dims: int | None = None
    for index in range(max(scales, 1)):
        matrix = weights.take(f"LocEnc{index}.capsule.0.b", frequencies, 2)
        frequencies = len(matrix)
        matrices.append(matrix)
        inputs: int | None = 2 * frequencies
        for layer in range(depth):
            layers.append(weights.linear(f"LocEnc{index}.capsule.{2 * layer + 1}", inputs, capacity))
            inputs = capacity = len(layers[-1][1])
        layers.append(weights.linear(f"LocEnc{index}.head.0", capacity, dims))
        dims = len(layers[-1][1])
    weights.finish()
    if not frequencies or not capacity or not dims:
        raise CheckpointError(f"{path} has layers without any unit: it is no {WHAT}")
    return matrices, layers, (scales, frequencies, capacity, depth, dims)


def _deviation(matrix: Tensor) -> float:
    """The σ that a random matrix was drawn with, a power of two where it is near one; for the record alone."""
    found = float(matrix.pow(2).mean().sqrt())
    if found == 0.0:
        return 1.0
    power = 2.0 ** round(math.log2(found))
    return power if abs(found / power - 1.0) < 0.2 else found
