"""Residual networks: torchvision's names and shapes, and a forward pass straight from the state dict."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from placevec.errors import UsageError
from placevec.nn.configs import from_json, to_json
from placevec.nn.vision.resnet import SHAPES, ResNet, ResNetConfig, shape_of

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def expected(layers: tuple[int, ...], width: int, classes: int, *, bottleneck: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the order in which torchvision's models hold them, written down from their description."""
    found: dict[str, tuple[int, ...]] = {"conv1.weight": (width, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        for part in NORM:
            found[f"{name}.{part}"] = () if part == NORM[-1] else (channels,)

    norm("bn1", width)
    inputs = width
    for stage, depth in enumerate(layers):
        inner = width * 2**stage
        outputs = inner * (4 if bottleneck else 1)
        for block in range(depth):
            name = f"layer{stage + 1}.{block}"
            sides = [(inputs, inner, 1), (inner, inner, 3), (inner, outputs, 1)]
            if not bottleneck:
                sides = [(inputs, inner, 3), (inner, inner, 3)]
            for number, (read, made, side) in enumerate(sides, start=1):
                found[f"{name}.conv{number}.weight"] = (made, read, side, side)
                norm(f"{name}.bn{number}", made)
            if block == 0 and (stage or inputs != outputs):
                found[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                norm(f"{name}.downsample.1", outputs)
            inputs = outputs
    found["fc.weight"], found["fc.bias"] = (classes, inputs), (classes,)
    return found


@pytest.mark.parametrize(("depth", "keys", "dims"), [(18, 122, 512), (34, 218, 512), (50, 320, 2048), (101, 626, 2048)])
def test_names_shapes_and_order_are_torchvisions(depth: int, keys: int, dims: int) -> None:
    config = ResNetConfig.of_depth(depth)
    with torch.device("meta"):
        state = ResNet(config).state_dict()
    assert len(state) == keys
    assert config.channels == dims
    wanted = expected(config.layers, 64, 365, bottleneck=config.block == "bottleneck")
    assert [(name, tuple(value.shape)) for name, value in state.items()] == list(wanted.items())
    assert list(state)[:7] == ["conv1.weight", *(f"bn1.{part}" for part in NORM), "layer1.0.conv1.weight"]
    assert list(state)[-1] == "fc.bias"
    assert shape_of(state) == config


def oracle(
    state: Mapping[str, Tensor], x: Tensor, layers: tuple[int, ...], *, bottleneck: bool
) -> tuple[Tensor, Tensor]:
    """The mean of the last map and the logits of normalised images, in float64, by the paper's table 1."""
    s = {name: value.double() for name, value in state.items()}

    def norm(y: Tensor, name: str) -> Tensor:
        mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
        y = (y - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
        return y * s[f"{name}.weight"][:, None, None] + s[f"{name}.bias"][:, None, None]

    x = norm(F.conv2d(x.double(), s["conv1.weight"], stride=2, padding=3), "bn1").clamp(min=0)
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, stride=2)
    for stage, depth in enumerate(layers, start=1):
        for block in range(depth):
            name, step = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            steps = (1, step, 1) if bottleneck else (step, 1)
            y = x
            for number, stride in enumerate(steps, start=1):
                weight = s[f"{name}.conv{number}.weight"]
                y = norm(F.conv2d(y, weight, stride=stride, padding=weight.shape[-1] // 2), f"{name}.bn{number}")
                y = y.clamp(min=0) if number < len(steps) else y
            if f"{name}.downsample.0.weight" in s:
                x = norm(F.conv2d(x, s[f"{name}.downsample.0.weight"], stride=step), f"{name}.downsample.1")
            x = (x + y).clamp(min=0)
    pooled = x.flatten(2).mean(dim=2)
    return pooled, pooled @ s["fc.weight"].T + s["fc.bias"]


@pytest.mark.parametrize("block", ["bottleneck", "basic"])
@pytest.mark.parametrize("size", [64, 45])
def test_the_answers_are_those_of_the_formulas(block: str, size: int) -> None:
    config = from_json(ResNetConfig, {"block": block, "layers": [2, 1, 2], "width": 6, "classes": 11})
    torch.manual_seed(3)
    net = config.build()
    for name, value in net.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            value.copy_(torch.randn_like(value))
        elif name.endswith("running_var"):
            value.copy_(torch.rand_like(value) + 0.3)
    net.eval()
    x = torch.randn(3, 3, size, size)
    pooled, logits = oracle(net.state_dict(), x, config.layers, bottleneck=block == "bottleneck")
    with torch.no_grad():
        torch.testing.assert_close(net.pooled(x).double(), pooled, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(net(x).double(), logits, atol=1e-4, rtol=1e-4)
    assert pooled.shape == (3, config.channels)


def test_without_classes_the_mean_is_the_answer() -> None:
    net = ResNetConfig(layers=(1, 1), width=4, classes=0).build().eval()
    assert not any(name.startswith("fc") for name in net.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(net(x), net.pooled(x))
    assert net(x).shape == (2, 32)
    assert shape_of(net.state_dict()) == net.config


def test_every_weight_gets_a_gradient() -> None:
    net = ResNetConfig(layers=(1, 1), width=4, classes=3).build()
    net(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in net.parameters())


def test_configs() -> None:
    config = ResNetConfig(block="basic", layers=(1, 2), width=8, bands=5, classes=0)
    assert from_json(ResNetConfig, to_json(config)) == config
    assert set(SHAPES) == {18, 34, 50, 101, 152}
    for wrong in ({"block": "wide"}, {"layers": []}, {"layers": [0]}, {"width": 0}, {"classes": -1}, {"bands": 0}):
        with pytest.raises(UsageError):
            from_json(ResNetConfig, wrong)
    with pytest.raises(UsageError, match="of depth 20 is known: give one of 18"):
        ResNetConfig.of_depth(20)
    with pytest.raises(UsageError, match=r"conv1\.weight"):
        shape_of({})
    with pytest.raises(UsageError, match=r"layer1\.0\.conv1\.weight"):
        shape_of({"conv1.weight": torch.zeros(4, 3, 7, 7)})
