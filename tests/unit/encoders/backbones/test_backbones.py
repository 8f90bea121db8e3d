"""Backbones of our own networks: parts, thawing, statistics, descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_places365
import tiny_transformers as tiny
from placevec.encoders.backbones import BACKBONES, Backbone, backbone_config, open_backbone, restore_backbone
from placevec.encoders.backbones.base import below
from placevec.encoders.backbones.net import NetBackbone
from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.encoders.importers.places365 import read_places365
from placevec.encoders.location import LocationConfig, LocationEncoder
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.vision import SmallCNNConfig, VisionNet

CHIPS = tiny.chips(24, size=40)
SMALL_RESNET = {"layers": [1, 1, 2], "width": 4, "block": "basic"}
CONFIGS: dict[str, dict[str, Any]] = {
    "small-cnn": {"kind": "net", "net": {"kind": "small-cnn", "width": 4, "stages": 2, "dims": 6}},
    "vit": {"kind": "net", "net": {"kind": "vit", "width": 16, "heads": 2, "depth": 3, "pixels": 32, "dims": 6}},
    "fisher": {
        "kind": "net",
        "net": {"kind": "fisher", "components": 2, "gradient_cells": [3], "colour_cells": [4], "pixels": 32}
        | {"gradient_dims": 4, "colour_dims": 4, "gradient_reduced": 3, "colour_reduced": 3, "dims": 6, "hidden": 4},
    },
    "resnet": {"kind": "resnet50", "net": SMALL_RESNET, "pixels": 48},
    "resnet-5-bands": {"kind": "resnet50", "net": {**SMALL_RESNET, "bands": 5}, "pixels": 48},
}


def opened(name: str, seed: int = 0) -> Backbone:
    backbone = open_backbone(backbone_config(CONFIGS[name]), seed=seed)
    backbone.learn_statistics(images(backbone))
    return backbone.eval()


def images(backbone: Backbone, n: int = 24) -> np.ndarray:
    return np.concatenate([CHIPS, CHIPS[:, ::-1]], axis=1)[:n, : backbone.bands].copy()


def shown(backbone: Backbone, n: int = 5) -> torch.Tensor:
    return torch.from_numpy(images(backbone, n))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_is_in_one_part(name: str) -> None:
    backbone = opened(name)
    parts = backbone.parts()
    for parameter, _ in backbone.named_parameters():
        assert sum(below(parameter, part) for part in parts) == 1, parameter
        assert below(parameter, parts[backbone.part_of(parameter)])
    names = [name for name, _ in backbone.named_parameters()]
    assert all(any(below(parameter, (prefix,)) for parameter in names) for part in parts for prefix in part)
    with pytest.raises(UsageError, match="'fc'"):
        backbone.part_of("fc")


def test_parts_are_stem_blocks_and_head() -> None:
    assert opened("small-cnn").parts() == (
        ("image.net.stem",),
        ("image.net.blocks.0",),
        ("image.net.blocks.1",),
        ("image.net.head",),
    )
    blocks = [(f"image.net.blocks.{number}",) for number in range(3)]
    assert opened("vit").parts() == (("image.net.embed",), *blocks, ("image.net.norm", "image.net.head"))
    assert opened("fisher").parts() == (("image.net.mlp",),)
    assert opened("resnet").parts() == (("net.conv1", "net.bn1"), ("net.layer1",), ("net.layer2",), ("net.layer3",))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("last", [0, 1, 2, -1])
def test_thawed_parts_learn_and_frozen_ones_stay(name: str, last: int) -> None:
    backbone = opened(name)
    last = min(last, len(backbone.parts())) if last >= 0 else len(backbone.parts())
    backbone.thaw(last)
    backbone.train()
    frozen = [prefix for part in backbone.parts()[: len(backbone.parts()) - last] for prefix in part]
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    learning = [value for value in backbone.parameters() if value.requires_grad]
    if learning:
        step = torch.optim.SGD(learning, lr=0.05)
        for _ in range(2):
            step.zero_grad()
            (backbone(shown(backbone)) ** 2).sum().backward()
            step.step()
    else:
        backbone(shown(backbone))
    after = backbone.state_dict()
    for parameter, _ in backbone.named_parameters():
        same = torch.equal(after[parameter], before[parameter])
        assert same == below(parameter, frozen), parameter
    # Running statistics move with the parts that learn, and only with those.
    for key in after:
        if key.endswith("running_mean"):
            assert torch.equal(after[key], before[key]) == below(key, frozen), key


@pytest.mark.parametrize("name", ["small-cnn", "resnet"])
def test_frozen_batch_norms_answer_as_in_eval_whatever_train_says(name: str) -> None:
    backbone = opened(name)
    wanted = backbone(shown(backbone))
    backbone.thaw(0)
    for mode in (True, False, True):
        backbone.train(mode)
        assert torch.equal(backbone(shown(backbone)), wanted)
    torch.nn.ModuleList([backbone]).eval().train()  # as a part of a larger network
    assert torch.equal(backbone(shown(backbone)), wanted)
    backbone.thaw(1)
    assert backbone.training
    norms = [module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if name == "resnet":
        assert {norm.training for norm in norms} == {True, False}
    backbone.thaw(len(backbone.parts()))
    assert all(norm.training for norm in norms)
    assert not torch.allclose(backbone(shown(backbone)), wanted)


@pytest.mark.parametrize("last", [-1, 5])
def test_parts_that_do_not_exist(last: int) -> None:
    with pytest.raises(UsageError, match=rf"thaw = {last}: the backbone resnet50 has 4 parts"):
        opened("resnet").thaw(last)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_built_again_from_its_description(name: str) -> None:
    backbone = opened(name)
    described = json.loads(json.dumps(backbone.describe()))
    again = restore_backbone(described, backbone.assets()).eval()
    again.load_state_dict(backbone.state_dict())
    assert (again.kind, again.width, again.pixels, again.bands) == (
        backbone.kind,
        backbone.width,
        backbone.pixels,
        backbone.bands,
    )
    assert again.parts() == backbone.parts()
    assert torch.equal(again(shown(again)), backbone(shown(backbone)))
    assert again.describe() == described


@pytest.mark.parametrize("name", CONFIGS)
def test_the_key_of_a_cache_follows_weights_and_settings(name: str) -> None:
    backbone = opened(name)
    key = backbone.cache_key()
    assert len(key) == 64
    assert opened(name).cache_key() == key, "weights depend on the seed alone"
    backbone.train()
    backbone.thaw(0)
    backbone(shown(backbone))
    assert backbone.cache_key() == key, "looking changes nothing"
    with torch.no_grad():
        next(iter(backbone.parameters())).view(-1)[0] += 1e-6
    assert backbone.cache_key() != key
    assert opened(name, seed=1).cache_key() != key
    one, other = (open_backbone(backbone_config({**CONFIGS["resnet"], "pixels": side})) for side in (48, 32))
    assert one.cache_key() != other.cache_key()


def test_opening_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    for name in CONFIGS:
        open_backbone(backbone_config(CONFIGS[name]), seed=4)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_network_takes_its_statistics_from_chips() -> None:
    backbone = open_backbone(backbone_config(CONFIGS["small-cnn"]), seed=0)
    chips = CHIPS.astype(np.float32) * 40.0 - 900.0
    backbone.learn_statistics(chips)
    assert isinstance(backbone, NetBackbone)
    net = backbone.image.net
    assert isinstance(net, VisionNet)
    np.testing.assert_allclose(net.mean.numpy(), chips.mean(axis=(0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(net.std.numpy(), chips.std(axis=(0, 2, 3)), rtol=1e-3)
    found = backbone.eval()(torch.from_numpy(chips))
    np.testing.assert_allclose(found.detach().mean(dim=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(found.detach().std(dim=0), 1.0, atol=1e-2)


@given(side=st.integers(8, 70), n=st.integers(0, 4), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_any_square_becomes_a_vector(side: int, n: int, seed: int) -> None:
    backbone = _RESNET
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    with torch.no_grad():
        found = backbone(torch.from_numpy(pixels))
    assert found.shape == (n, backbone.width)
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())


_RESNET = open_backbone(backbone_config(CONFIGS["resnet"])).eval()


def test_images_that_do_not_fit() -> None:
    for name in CONFIGS:
        backbone = opened(name)
        with pytest.raises(DataError, match="squares"):
            backbone(shown(backbone)[:, :, :30])
        with pytest.raises(DataError, match=rf"\(n, {backbone.bands}, S, S\)"):
            backbone(shown(backbone)[:, 1:])
    with pytest.raises(DataError, match="float32"):
        opened("resnet")(torch.zeros(1, 3, 48, 48))


def test_the_resnet_of_a_model_folder_keeps_its_weights(tmp_path: Path) -> None:
    net = tiny_places365.network(18)
    path = tiny_places365.write(tmp_path / "resnet18_places365.pth.tar", tiny_places365.checkpoint(net, "resnet18"))
    encoder = read_places365([path]).encoder.save(tmp_path / "scenes")
    folder = str(tmp_path / "scenes")
    backbone = open_backbone(backbone_config({"kind": "resnet50", "folder": folder, "pixels": 64})).eval()
    assert (backbone.width, backbone.pixels) == (32, 64)
    state = net.state_dict()
    found = backbone.state_dict()
    assert set(found) == {f"net.{name}" for name in state if not name.startswith("fc.")}
    assert all(torch.equal(value, state[name.removeprefix("net.")]) for name, value in found.items())
    image = torch.from_numpy(tiny.chips(3, size=80))
    x = (torch.nn.functional.interpolate(image, size=(64, 64), mode="bilinear", antialias=True).float() / 255).sub(
        torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    ) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(backbone(image), net.pooled(x), atol=1e-5, rtol=1e-4)
    same = open_backbone(backbone_config({"kind": "model", "folder": folder})).eval()
    np.testing.assert_allclose(same(image).detach(), encoder.encode({"image": image.numpy()}), atol=1e-5)


def test_an_image_encoder_is_a_backbone_with_the_same_vectors(tmp_path: Path) -> None:
    shape = ImageConfig(net=SmallCNNConfig(width=4, stages=2, dims=8))
    encoder = ImageEncoder.untrained(shape, 1, CHIPS).save(tmp_path / "model")
    backbone = open_backbone(backbone_config({"kind": "model", "folder": str(tmp_path / "model")})).eval()
    assert (backbone.kind, backbone.width) == ("net", 8)
    found = backbone(torch.from_numpy(CHIPS)).detach()
    np.testing.assert_allclose(found, encoder.encode({"image": CHIPS}), atol=1e-6)


def test_folders_that_are_no_backbone(tmp_path: Path) -> None:
    ImageEncoder.untrained(ImageConfig(net=SmallCNNConfig(width=4, stages=2, dims=8)), 1, CHIPS).save(
        tmp_path / "image"
    )
    LocationEncoder.untrained(LocationConfig(), 1).save(tmp_path / "location")
    for value, kind, words in (
        ({"kind": "model", "folder": str(tmp_path / "none")}, CheckpointError, "is no folder"),
        ({"kind": "model", "folder": str(tmp_path)}, CheckpointError, "is not a model folder"),
        ({"kind": "model", "folder": str(tmp_path / "location")}, UsageError, "which reads lonlat"),
        ({"kind": "resnet50", "folder": str(tmp_path / "image")}, UsageError, "no residual network"),
        ({"kind": "vgg"}, UsageError, "known: hf, model, net, resnet50"),
        ({"kind": "net", "net": {"kind": "vgg"}}, UsageError, "'vgg'"),
        ({"kind": "resnet50", "depth": 50}, UsageError, "'depth'"),
        ({"kind": "hf"}, UsageError, "'model'"),
        ({"kind": "hf", "model": "x", "features": "best"}, UsageError, "'best'"),
        ({"kind": "resnet50", "pixels": 0}, UsageError, "crop"),
    ):
        with pytest.raises(kind, match=words):
            open_backbone(backbone_config(value))
    assert set(BACKBONES) == {"net", "hf", "resnet50", "model"}


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"kind": "net"},
        {"kind": "net", "config": {"net": {"kind": "vgg"}}},
        {"kind": "resnet50", "net": {}},
        {"kind": "resnet50", "net": {"layers": [0]}, "preparation": {"resize": 8, "crop": 8}},
        {"kind": "resnet50", "net": 3, "preparation": 4},
        {"kind": "model"},
    ],
)
def test_descriptions_that_are_damaged(damaged: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="backbone of kind"):
        restore_backbone(damaged, {})
