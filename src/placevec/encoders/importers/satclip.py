"""SatCLIP's location encoder (Klemmer et al., AAAI 2025; github.com/microsoft/satclip, MIT), and Regional-SatCLIP's.

A SatCLIP checkpoint is one of Lightning: a mapping with `hyper_parameters` and `state_dict`. The network of the
location encoder stands in the state as ``model.location.nnet.*`` and, being held twice, as ``model.nnet.*``; the image
tower as ``model.visual.*``, the temperature as ``model.logit_scale``. Inputs are (lon, lat) in degrees, as ours; the
vectors are not normalised.

Regional-SatCLIP (github.com/altimol/Regional-SatCLIP, MIT) writes a bare state dict, in which the network is called
``location.neural_network.*``, and the settings of the run into a `config.json` beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from placevec.encoders.importers.base import (
    ImportedModel,
    Weight,
    Weights,
    location_encoder,
    plain,
    published,
    read_torch,
    source,
    tensors,
)
from placevec.encoders.importers.bases import BASES, grid_columns, harmonic_factors
from placevec.encoders.location import LocationConfig
from placevec.errors import CheckpointError, UsageError
from placevec.nn.fcnet import FCNetConfig
from placevec.nn.position import Harmonics, PositionConfig, Space2VecGrid
from placevec.nn.siren import SirenConfig

WHAT = "SatCLIP location encoder"
W0_FIRST, W0 = 30.0, 1.0  # of SatCLIP's SirenNet, which no hyper-parameter changes
FCNET_BLOCKS = 4  # of its FCNet, whatever num_hidden_layers says
REGIONAL_FREQUENCIES = 10  # Regional-SatCLIP's training program has them, its config.json has not
ROUNDING_DEGREES = 20  # from here on SatCLIP's own analytic program is off by more than 1e-8

_NETWORK = re.compile(r"(?:model\.)?(?:location\.)?(?:nnet|neural_network)\.(.+)")
_IMAGE = re.compile(r"(?:model\.)?(?:visual|image_mlp)\.")
_SCALE = re.compile(r"(?:model\.)?logit_scale")


@dataclass(frozen=True)
class _Settings:
    """The hyper-parameters that a location encoder depends on, under SatCLIP's names."""

    le_type: str  # position encoding
    pe_type: str  # network
    embed_dim: int
    capacity: int
    num_hidden_layers: int
    values: Mapping[str, Any]  # all of them, as in the file
    where: Path

    @classmethod
    def of(cls, values: Mapping[str, Any], where: Path) -> _Settings:
        """Read them; CheckpointError for those that are missing or no numbers."""
        return cls(
            le_type=str(_wanted(values, "le_type", where)),
            pe_type=str(_wanted(values, "pe_type", where)),
            embed_dim=_count(values, "embed_dim", where),
            capacity=_count(values, "capacity", where),
            num_hidden_layers=_count(values, "num_hidden_layers", where),
            values=values,
            where=where,
        )


def read_satclip(paths: Sequence[str | Path], *, basis: str | None = None) -> ImportedModel:
    """The location encoder of a SatCLIP checkpoint, with its exact vectors in the standard basis of harmonics.

    What distinguishes the peer's basis from ours (see `bases`) is multiplied into the columns of the first layer in
    float64, so that nothing of it is left at run time, and every part that takes harmonics takes this encoder.

    Args:
        paths: one checkpoint.
        basis: one of `bases.BASES`, where the file does not say.

    Raises:
        CheckpointError: the file is damaged, of another architecture, or has weights that are unknown.
        UsageError: several files, an unknown basis, a basis that contradicts the file, or none where the file has none.
    """
    if len(paths) != 1:
        raise UsageError(f"a SatCLIP model is one checkpoint, not {len(paths)}: import them one by one")
    if basis is not None and basis not in BASES:
        raise UsageError(f"no basis of SatCLIP is called {basis!r}; known: {', '.join(BASES)}")
    path = Path(paths[0])
    settings, state = _read(path)
    network, scale, ignored = _parts(state, path)
    position, used = _position(settings, basis)
    nn, layers = _network(Weights(network, path, WHAT), settings, position.dims)
    first, bias = layers[0]
    layers[0] = (_fold(first, position, used), bias)
    config = LocationConfig(position=position, nn=nn, dims=settings.embed_dim, normalize=False)
    name = _name(settings, position, used)
    recipe: dict[str, Any] = {"import": "satclip", "hyper_parameters": plain(settings.values)}
    if used is not None:
        recipe["basis"] = used
    if scale is not None:
        recipe["logit_scale"] = scale
    origin = source(path, "MIT", "SatCLIP (Klemmer et al., 2025)")
    encoder = location_encoder(
        config,
        layers,
        where=path,
        space=published(name, origin, settings.embed_dim),
        name=name,
        licence="MIT",
        recipe=recipe,
        parents=(origin.sha256,),
        sources=(origin,),
    )
    return ImportedModel(encoder, _notes(position, used, ignored))


def _read(path: Path) -> tuple[_Settings, dict[str, Tensor]]:
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a checkpoint of a {WHAT}")
    if "state_dict" in content:
        state = tensors(content["state_dict"], path, WHAT)
        values = content.get("hyper_parameters")
        if not isinstance(values, Mapping) or not values:
            raise CheckpointError(f"{path} has no hyper_parameters, which say the shape of a {WHAT}: it is none")
        return _Settings.of(values, path), state
    state = tensors(content, path, WHAT)
    beside = path.with_name("config.json")
    if not any(_NETWORK.fullmatch(name) for name in state):
        raise CheckpointError(f"{path} has no weights of a {WHAT}, but {next(iter(state))!r}: it is another model")
    if not beside.is_file():
        raise CheckpointError(
            f"{path} holds weights alone and no hyper-parameters: put the run's config.json beside it "
            "(Regional-SatCLIP), or give the Lightning checkpoint"
        )
    return _regional(beside, state), state


def _regional(beside: Path, state: Mapping[str, Tensor]) -> _Settings:
    try:
        values = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{beside} is damaged ({error}): copy it again from the run") from None
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{beside} holds a {type(values).__name__}, not the settings of a run")
    last = next((value for name, value in state.items() if name.endswith("last_layer.bias")), None)
    # These three are constants of the training program; the vectors' size is that of the images it learned from.
    fixed = {"le_type": "grid", "pe_type": "siren", "frequency_num": REGIONAL_FREQUENCIES}
    dims = {} if last is None else {"embed_dim": int(last.numel())}
    renamed = {"num_hidden_layers" if key == "hidden_layers" else key: value for key, value in values.items()}
    return _Settings.of({**fixed, **dims, **renamed}, beside)


def _parts(state: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], float | None, int]:
    """The weights of the network, the log of the inverse temperature, and how many weights of images there are."""
    network: dict[str, Tensor] = {}
    scale: float | None = None
    ignored = 0
    for name, value in state.items():
        found = _NETWORK.fullmatch(name)
        if found:
            before = network.setdefault(found[1], value)
            if before is not value and not (before.shape == value.shape and torch.equal(before, value)):
                raise CheckpointError(
                    f"{path} holds the weight {found[1]!r} twice, with different values: fetch it again"
                )
        elif _IMAGE.match(name):
            ignored += 1
        elif _SCALE.fullmatch(name) and value.numel() == 1:
            scale = float(value.detach())
        else:
            raise CheckpointError(
                f"{path} has the unknown weight {name!r}: a {WHAT} has none, so its vectors would be wrong"
            )
    return network, scale, ignored


def _position(settings: _Settings, basis: str | None) -> tuple[PositionConfig, str | None]:
    """The position encoding, and the basis of its harmonics if it has any."""
    values, where = settings.values, settings.where
    if settings.le_type == "sphericalharmonics":
        return Harmonics(_count(values, "legendre_polys", where)), _basis(values, basis, where)
    if settings.le_type != "grid":
        raise CheckpointError(
            f"{where}: the position encoding {settings.le_type!r} cannot be read yet, only sphericalharmonics and grid"
        )
    if basis is not None:
        raise UsageError(f"{where} has no harmonics, but the encoding 'grid': leave out --basis")
    frequencies = _count(values, "frequency_num", where)
    if frequencies < 2:
        raise CheckpointError(f"{where}: frequency_num = {frequencies}, and SatCLIP's grid has at least 2")
    radii = [_wanted(values, name, where) for name in ("min_radius", "max_radius")]
    if not all(isinstance(radius, (int, float)) and not isinstance(radius, bool) for radius in radii):
        raise CheckpointError(f"{where}: min_radius and max_radius are {radii[0]!r} and {radii[1]!r}, not numbers")
    try:
        return Space2VecGrid(frequencies, float(radii[0]), float(radii[1])), None
    except UsageError as error:
        raise CheckpointError(f"{where}: {error}") from None


def _basis(values: Mapping[str, Any], basis: str | None, where: Path) -> str:
    said = values.get("harmonics_calculation")
    if said is None:
        if basis is None:
            raise UsageError(
                f"{where} does not say in which basis its harmonics are (harmonics_calculation): give --basis "
                f"{', '.join(BASES[:-1])} or {BASES[-1]}"
            )
        return basis
    if said not in ("analytic", "closed-form"):
        raise CheckpointError(
            f"{where}: harmonics_calculation = {said!r} cannot be read, only analytic and closed-form"
        )
    if basis is None:
        return str(said)
    # A regenerated file of harmonics still goes by the name "analytic": there the user knows more than the file.
    if basis != said and (said, basis) != ("analytic", "analytic-corrected"):
        raise UsageError(f"{where} says that its basis is {said}, --basis says {basis}: leave out --basis")
    return basis


def _network(weights: Weights, settings: _Settings, inputs: int) -> tuple[SirenConfig | FCNetConfig, list[Weight]]:
    """The network, and its linear layers in order, the first one as in the file."""
    build = {"siren": _siren, "fcnet": _fcnet}.get(settings.pe_type)
    if build is None:
        raise CheckpointError(
            f"{settings.where}: the network {settings.pe_type!r} cannot be read yet, only siren and fcnet"
        )
    config, layers = build(weights, settings, inputs)
    weights.finish()
    return config, layers


def _siren(weights: Weights, settings: _Settings, inputs: int) -> tuple[SirenConfig | FCNetConfig, list[Weight]]:
    layers = []
    for index in range(settings.num_hidden_layers):
        layers.append(weights.linear(f"layers.{index}", inputs, settings.capacity))
        inputs = settings.capacity
    layers.append(weights.linear("last_layer", inputs, settings.embed_dim))
    # The peer drops half of the sums before each sine in training; that leaves no trace in the weights.
    return SirenConfig(settings.capacity, settings.num_hidden_layers, W0_FIRST, W0, dropout=0.0), layers


def _fcnet(weights: Weights, settings: _Settings, inputs: int) -> tuple[SirenConfig | FCNetConfig, list[Weight]]:
    width = settings.capacity
    layers = [weights.linear("feats.0", inputs, width)]
    for index in range(2, 2 + FCNET_BLOCKS):
        layers += [weights.linear(f"feats.{index}.{name}", width, width) for name in ("w1", "w2")]
    last = weights.take("class_emb.weight", settings.embed_dim, width)
    layers.append((last, torch.zeros(settings.embed_dim, dtype=torch.float64)))
    return FCNetConfig(width, FCNET_BLOCKS, dropout=0.0), layers


def _fold(weight: Tensor, position: PositionConfig, basis: str | None) -> Tensor:
    """The first layer's weight (h, dims) for our columns, from that for the peer's."""
    if isinstance(position, Harmonics):
        return weight * harmonic_factors(str(basis), position.degrees)
    assert isinstance(position, Space2VecGrid)
    return weight[:, grid_columns(position.frequencies)]


def _name(settings: _Settings, position: PositionConfig, basis: str | None) -> str:
    images = settings.values.get("vision_layers")
    tower = f"-{images}" if isinstance(images, str) else ""
    if isinstance(position, Harmonics):
        return f"satclip{tower}-l{position.degrees}-{basis}"
    return f"satclip{tower}-grid"


def _notes(position: PositionConfig, basis: str | None, ignored: int) -> list[str]:
    notes = ["coordinates are (lon, lat), as in SatCLIP; vectors are not normalised, as there"]
    if ignored:
        notes.append(f"{ignored} weights of the image tower were left out")
    if isinstance(position, Harmonics) and basis != "closed-form" and position.degrees > ROUNDING_DEGREES:
        notes.append(
            f"harmonics are exact here; SatCLIP's own program loses digits at {position.degrees} degrees (up to 0.2 of "
            "a harmonic at 40, beyond 30° of latitude), so that its vectors differ there"
        )
    return notes


def _wanted(values: Mapping[str, Any], name: str, where: Path) -> Any:
    if name not in values:
        raise CheckpointError(f"{where} lacks the hyper-parameter {name!r}: it is no {WHAT}")
    return values[name]


def _count(values: Mapping[str, Any], name: str, where: Path) -> int:
    value = _wanted(values, name, where)
    # Lightning's command line saves some whole numbers as floats.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 1:
        raise CheckpointError(f"{where}: {name} = {value!r} is no number of at least 1")
    return int(value)
