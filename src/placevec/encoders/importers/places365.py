"""The residual networks of Places365 (github.com/CSAILVision/places365), as encoders of scenes.

The published files, such as ``resnet50_places365.pth.tar``, hold {"arch", "state_dict"} with the names of torchvision
behind ``module.``. Python 2.7 and torch 0.2 wrote them: texts are bytes, tensors lie on a GPU, and the counters of
batch norms (``num_batches_tracked``) did not exist yet. They are no archives, whatever their name says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from placevec.encoders.importers.base import Weights, plain, published, read_torch, source, tensors
from placevec.encoders.scenes import SceneConfig, SceneEncoder, SceneNet, scene_card
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.vision.resnet import SHAPES, ResNetConfig, shape_of

WHAT = "residual network of Places365"
CLASSES = 365
INDOOR, OUTDOOR = 1, 2  # in IO_places365.txt
LICENCE = "CC BY"

_WRAPPED = re.compile(r"^(?:module\.)+")
_COUNTER = "num_batches_tracked"
_LINE = re.compile(r"(\S+)\s+(\d+)")
_SUFFIXES = re.compile(r"(?:\.(?:pth|pt|tar|bin|safetensors))+$")


@dataclass(frozen=True)
class ImportedScenes:
    """What the importer has made; see `importers.base.ImportedModel`.

    Attributes:
        encoder: the encoder of scenes.
        notes: what people should know, a line each.
    """

    encoder: SceneEncoder
    notes: list[str] = field(default_factory=list)


def read_places365(paths: Sequence[str | Path]) -> ImportedScenes:
    """The network of scenes in a published checkpoint.

    Args:
        paths: one file of torch or of safetensors, and by wish the lists that are published beside it:
            ``categories_places365.txt`` (names) and ``IO_places365.txt`` (which classes are indoors).

    Raises:
        CheckpointError: the checkpoint is damaged, holds more than tensors, or is no residual network of 365 classes.
        DataError: a list does not have one line for each class.
        UsageError: several checkpoints, or none.
    """
    files = [Path(path) for path in paths]
    models = [path for path in files if path.suffix != ".txt"]
    if len(models) != 1:
        raise UsageError(
            f"{len(models)} checkpoints of Places365: give one, such as resnet50_places365.pth.tar, and by wish "
            "categories_places365.txt and IO_places365.txt"
        )
    path = models[0]
    categories, indoor = read_lists(text for text in files if text.suffix == ".txt")
    state, arch, epoch = _state(read_torch(path), path)
    shape, name = _shape(state, arch, path)
    config = SceneConfig(net=shape, categories=categories, indoor=indoor)
    net = _filled(config, state, path)
    origin = source(path, LICENCE, "Places365 (Zhou et al., 2017)")
    card = scene_card(
        config,
        published(f"places365/{name}", origin, shape.channels),
        name=_SUFFIXES.sub("", path.name),
        licence=LICENCE,
        recipe={"import": "places365", "architecture": name} | ({} if epoch is None else {"epoch": plain(epoch)}),
        parents=(origin.sha256,),
        sources=(origin, *(source(text, LICENCE, "Places365") for text in files if text.suffix == ".txt")),
    )
    return ImportedScenes(SceneEncoder(config, net, card), _notes(config, name))


def read_lists(paths: Iterable[Path]) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """The names of the classes, and whether each is indoors; empty where no list tells.

    The two lists are told apart by what they hold: numbers of classes from 0 on, or 1 (indoors) and 2 (outdoors).

    Raises:
        DataError: a list cannot be read, is neither, or the two disagree.
    """
    categories: tuple[str, ...] = ()
    where: dict[str, bool] = {}
    for path in paths:
        numbers = _list(path)
        if set(numbers.values()) <= {INDOOR, OUTDOOR}:
            where = {name: number == INDOOR for name, number in numbers.items()}
        elif sorted(numbers.values()) == list(range(CLASSES)):
            categories = tuple(sorted(numbers, key=lambda name: numbers[name]))
        else:
            raise DataError(
                f"{path} is neither a list of classes (0 to {CLASSES - 1}) nor of 1 (indoors) and 2 (outdoors): give "
                "categories_places365.txt or IO_places365.txt as they are published"
            )
    if not where:
        return categories, ()
    # The lines of that list stand in the order of the classes.
    names = categories or tuple(where)
    for name in names:
        if name not in where:
            raise DataError(f"the two lists disagree: the class {name!r} is indoors or not in none; fetch both again")
    return names, tuple(where[name] for name in names)


def _list(path: Path) -> dict[str, int]:
    """The lines NAME NUMBER of a list."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of scenes ({error}): fetch it again") from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise DataError(f"{path}, line {number}: {line[:60]!r} is no name of a scene with a number")
        if match[1] in found:
            raise DataError(f"{path}, line {number}: the scene {match[1]!r} stands there twice")
        found[match[1]] = int(match[2])
    if len(found) != CLASSES:
        raise DataError(f"{path} has {len(found)} scenes, Places365 has {CLASSES}: fetch it again")
    return found


def _state(content: Any, path: Path) -> tuple[dict[str, Tensor], str | None, Any]:
    """The weights by torchvision's names, the architecture that the file names, and the epoch."""
    arch, epoch = None, None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        arch, epoch = content.get("arch"), content.get("epoch")
        content = content["state_dict"]
    found = {_WRAPPED.sub("", name): value for name, value in tensors(content, path, WHAT).items()}
    return found, None if arch is None else str(arch), epoch


def _shape(state: Mapping[str, Tensor], arch: str | None, path: Path) -> tuple[ResNetConfig, str]:
    """The shape of the network, and its name, such as resnet50."""
    known = {f"resnet{depth}": shape for depth, shape in SHAPES.items()}
    if arch is not None and arch not in known:
        # Wide residual networks share the names, but not what is computed with the weights.
        raise CheckpointError(f"{path} is a {arch}, which is not read: give one of {', '.join(known)}")
    try:
        shape = shape_of(state)
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}; it is no {WHAT}") from None
    found = (shape.block, shape.layers)
    name = next((name for name, one in known.items() if one == found), None)
    if name is None or arch not in (None, name):
        blocks = "-".join(map(str, shape.layers))
        raise CheckpointError(
            f"{path} has {shape.block} blocks {blocks}, not those of a {arch or 'ResNet'}: weights are missing; fetch "
            "the file again"
        )
    if shape.classes != CLASSES:
        raise CheckpointError(f"{path} tells {shape.classes} classes, not the {CLASSES} of Places365: it is no {WHAT}")
    return shape, name


def _filled(config: SceneConfig, state: dict[str, Tensor], path: Path) -> SceneNet:
    """The network with the weights; each of them is taken, and none is left."""
    counters = {name: state.pop(name) for name in list(state) if name.endswith(_COUNTER)}
    with torch.device("meta"):  # no random weights are drawn for shapes
        wanted = SceneNet(config).state_dict()
    weights = Weights(state, path, WHAT)
    taken: dict[str, Tensor] = {}
    for name, value in wanted.items():
        if name.endswith(_COUNTER):
            # Files of torch before 0.4.1 lack them; nothing of the answer depends on them.
            taken[name] = counters.pop(name, torch.zeros(())).reshape(()).to(torch.int64)
        else:
            taken[name] = weights.take(name, *value.shape).to(torch.float32)
    Weights(counters, path, WHAT).finish()
    weights.finish()
    for name, value in taken.items():
        if name.endswith("running_var") and bool((value < 0).any()):
            raise CheckpointError(f"{path}: the weight {name!r} holds variances below 0: fetch the file again")
    net = SceneNet(config)
    net.load_state_dict(taken)
    return net


def _notes(config: SceneConfig, name: str) -> list[str]:
    found = [f"{name}: vectors of {config.net.channels} dims, {CLASSES} classes of scenes"]
    if not config.categories:
        found.append("the classes have no names: give categories_places365.txt too")
    if not config.indoor:
        found.append("which classes are indoors is not known: give IO_places365.txt too")
    found.append(f"the weights are published under {LICENCE}; credit Places365 (Zhou et al., 2017)")
    return found
