"""Opening backbones by their config, and building them again from their description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from placevec.encoders.backbones.base import Backbone
from placevec.encoders.backbones.configs import (
    BACKBONES,
    BackboneConfig,
    HfBackboneConfig,
    ModelBackboneConfig,
    NetBackboneConfig,
    ResNetBackboneConfig,
)
from placevec.encoders.backbones.hf import Feature, HfBackbone, build_hf, of_model, open_hf
from placevec.encoders.backbones.net import NetBackbone
from placevec.encoders.backbones.resnet import ResNetBackbone
from placevec.encoders.hf import HfImageEncoder
from placevec.encoders.hf.loading import Opened
from placevec.encoders.image import ImageConfig, ImageEncoder, ImageNet, seeded_net
from placevec.encoders.model import load_encoder
from placevec.encoders.network import seeded
from placevec.encoders.pair import PairModel
from placevec.encoders.scenes import SceneEncoder
from placevec.errors import CheckpointError, UsageError
from placevec.nn import configs
from placevec.nn.vision.prepare import Preparation
from placevec.nn.vision.resnet import ResNet, ResNetConfig


def open_backbone(config: BackboneConfig, *, seed: int = 0) -> Backbone:
    """The backbone that `config` asks for, on the processor, everything thawed.

    Args:
        config: see `backbone_config`.
        seed: of weights that are random.

    Raises:
        CheckpointError: a model or folder is missing or damaged.
        UsageError: a model folder that does not look at images, or a feature that the model does not have.
    """
    match config:
        case NetBackboneConfig():
            shape = ImageConfig(net=config.net, normalize=False)
            return NetBackbone(shape, seeded_net(shape, seed))
        case HfBackboneConfig():
            return open_hf(
                config.model, config.features, revision=config.revision, allow_download=config.allow_download
            )
        case ResNetBackboneConfig(folder=""):
            bands = config.net.bands
            mean, std = Preparation(1, 1).mean, Preparation(1, 1).std
            if bands != len(mean):
                mean, std = (0.5,) * bands, (0.25,) * bands
            net = seeded(lambda: ResNet(replace(config.net, classes=0)), seed)
            return ResNetBackbone(net, Preparation(config.pixels, config.pixels, mean, std))
        case ResNetBackboneConfig():
            found = load_encoder(_folder(config.folder))
            if not isinstance(found, SceneEncoder):
                raise UsageError(
                    f"{config.folder} holds an encoder of kind {found.card.kind}, no residual network: give what "
                    "`placevec import --as places365` wrote, or the backbone kind model"
                )
            old = found.config.preparation
            return _of_scenes(found, replace(old, resize=config.pixels, crop=config.pixels))
        case ModelBackboneConfig():
            return _of_folder(_folder(config.folder))
    raise UsageError(f"no backbone is called {config.kind!r}; known: {', '.join(sorted(BACKBONES))}")


def restore_backbone(description: Mapping[str, Any], assets: Mapping[str, bytes]) -> Backbone:
    """The module that `Backbone.describe` and `Backbone.assets` tell of; its weights are yet to be loaded.

    Raises:
        CheckpointError: the description is damaged, or of a kind that this placevec does not know.
    """
    kind = description.get("kind")
    with torch.random.fork_rng(devices=[]):  # the weights are replaced: nobody's random numbers are used up for them
        if kind == HfBackbone.kind:
            return build_hf(description, assets)
        try:
            if kind == NetBackbone.kind:
                shape = ImageConfig.from_json(description["config"])
                return NetBackbone(shape, ImageNet(shape))
            if kind == ResNetBackbone.kind:
                net = configs.from_json(ResNetConfig, description["net"])
                return ResNetBackbone(ResNet(net), Preparation.from_json(description["preparation"]))
        except (KeyError, TypeError, AttributeError, UsageError) as error:
            raise CheckpointError(f"the description of a backbone of kind {kind} is damaged: {error!r}") from None
    raise CheckpointError(f"a backbone of kind {kind!r} is not known here: the model is of a newer placevec")


def _of_folder(folder: Path) -> Backbone:
    found = load_encoder(folder)
    tower = found.image if isinstance(found, PairModel) else found
    if isinstance(tower, ImageEncoder):
        return NetBackbone(tower.config, tower.net)
    if isinstance(tower, SceneEncoder):
        return _of_scenes(tower, tower.config.preparation)
    if isinstance(tower, HfImageEncoder):
        return _of_hf(tower, folder)
    raise UsageError(
        f"{folder} holds an encoder of kind {found.card.kind}, which reads {', '.join(found.inputs)}: a backbone is an "
        "image encoder, a pair of towers, scenes, or a model of transformers"
    )


def _of_scenes(encoder: SceneEncoder, preparation: Preparation) -> ResNetBackbone:
    net = ResNet(replace(encoder.config.net, classes=0))
    state = encoder.net.state_dict()
    net.load_state_dict({name: state[name] for name in net.state_dict()})
    return ResNetBackbone(net, preparation)


def _of_hf(tower: HfImageEncoder, folder: Path) -> HfBackbone:
    """The backbone whose vectors are those of the encoder, by the pooling of its card."""
    pooling, bands = str(tower.card.config["pooling"]), list(tower.card.config["bands"])
    if bands != [0, 1, 2]:
        raise UsageError(f"{folder} reads the bands {bands}: a backbone reads red, green and blue alone")
    feature: Feature = "mean" if pooling == "mean" else "cls" if pooling == "cls" else "pooler"
    if feature == "pooler" and hasattr(tower.model, "visual_projection"):
        feature = "projection"
    name, digest = str(tower.card.config["model"]), tower.card.weights_sha256
    label = f"{Path(name).name}@{digest[:16]}"
    opened = Opened(label, folder, label, digest, tower.model, frozenset())
    return of_model(opened, tower.processor, feature)


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"{name} is no folder: give a model folder that train or import wrote")
    return folder
