"""Low-rank adapters: nothing changes at the start, they alone learn, and they fold away."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny_transformers
from placevec.errors import CheckpointError, UsageError
from placevec.nn.lora import CLIP_LAYERS, LowRankLinear, adapters, attach, load_adapters, merge


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(6, 6)
        self.fc1 = nn.Linear(6, 9, bias=False)
        self.fc2 = nn.Linear(9, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(torch.relu(self.fc1(self.q_proj(x))))


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(Layer(), Layer(), nn.LayerNorm(6), nn.Linear(6, 3))


def trained(net: nn.Module, x: torch.Tensor, steps: int = 5) -> None:
    optimizer = torch.optim.SGD([value for value in net.parameters() if value.requires_grad], lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()


def test_at_the_start_nothing_has_changed() -> None:
    net, x = network(), torch.randn(4, 6)
    before = net(x)
    names = attach(net, 2, 4.0, ["q_proj", "fc?"])
    assert names == [f"{i}.{name}" for i in (0, 1) for name in ("q_proj", "fc1", "fc2")]
    assert torch.equal(net(x), before)
    assert [name for name, value in net.named_parameters() if value.requires_grad] == [
        f"{name}.{part}" for name in names for part in ("down", "up")
    ]
    assert sum(value.numel() for value in adapters(net).values()) == 2 * 2 * (12 + 15 + 15)


def test_only_adapters_learn_and_what_they_add_is_the_formula() -> None:
    net, x = network(), torch.randn(4, 6)
    frozen = copy.deepcopy(net).state_dict()
    attach(net, 2, 3.0, ["q_proj", "fc1", "fc2"])
    trained(net, x)
    state = net.state_dict()
    assert all(torch.equal(state[name], value) for name, value in frozen.items())  # the old names, bit by bit
    assert all(value.abs().sum() > 0 for value in adapters(net).values())
    layer = net[0].fc1
    assert isinstance(layer, LowRankLinear)
    slow = torch.stack([layer.weight @ row + 1.5 * layer.up @ (layer.down @ row) for row in x])
    torch.testing.assert_close(layer(x), slow)


def test_merged_is_the_same_function_in_the_first_structure() -> None:
    net, x = network(), torch.randn(5, 6)
    names = list(net.state_dict())
    attach(net, 3, 6.0, ["*.q_proj", "1.fc2"])
    trained(net, x)
    expected = net(x)
    weights = {
        f"{name}.weight": part.weight + 2.0 * part.up @ part.down
        for name, part in net.named_modules()
        if isinstance(part, LowRankLinear)
    }
    assert len(weights) == 3
    assert merge(net) is net
    assert list(net.state_dict()) == names
    assert not any(isinstance(part, LowRankLinear) for part in net.modules())
    torch.testing.assert_close(net(x), expected)
    for name, weight in weights.items():
        torch.testing.assert_close(net.state_dict()[name], weight, atol=1e-7, rtol=1e-6)
    assert not any(value.requires_grad for value in net.parameters())
    attach(net, 1, 1.0, ["q_proj"])  # and can be adapted anew


def test_untrained_adapters_fold_to_the_weights_bit_by_bit() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    attach(net, 2, 4.0, ["q_proj", "fc1"])
    merge(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_adapters_alone_carry_the_training() -> None:
    net, x = network(), torch.randn(4, 6)
    attach(net, 2, 4.0, ["fc2"])
    trained(net, x)
    other = network()
    attach(other, 2, 4.0, ["fc2"])
    load_adapters(other, adapters(net))
    assert torch.equal(other(x), net(x))
    narrow = network()
    attach(narrow, 1, 4.0, ["fc2"])
    with pytest.raises(CheckpointError, match=r"'0.fc2.down' is \(2, 9\), here \(1, 9\)"):
        load_adapters(narrow, adapters(net))
    with pytest.raises(CheckpointError, match=r"'0.fc2.down' is on one side only"):
        load_adapters(network(), adapters(net))


def test_a_copy_in_low_precision() -> None:
    net = network().to(torch.bfloat16)
    attach(net, 2, 4.0, ["fc1"])
    x = torch.randn(3, 6, dtype=torch.bfloat16)
    assert net(x).dtype == torch.bfloat16
    net(x).float().sum().backward()
    assert net[0].fc1.up.grad.dtype == torch.float32
    assert merge(net)[0].fc1.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rank": 0}, "rank = 0"),
        ({"alpha": 0.0}, "alpha = 0.0"),
        ({"alpha": float("nan")}, "alpha = nan"),
        ({"names": ["v_proj"]}, "no linear layer is called 'v_proj'; the network has: 3, fc1, fc2, q_proj"),
        ({"names": []}, "no names"),
    ],
)
def test_what_cannot_be_attached(given: dict[str, Any], message: str) -> None:
    net = network()
    with pytest.raises(UsageError, match=message):
        attach(net, **{"rank": 2, "alpha": 4.0, "names": ["fc1"], **given})
    assert all(value.requires_grad for value in net.parameters())
    attach(net, 2, 4.0, ["fc1"])
    with pytest.raises(UsageError, match="adapters already"):
        attach(net, 2, 4.0, ["fc1"])


def test_attention_that_reads_weights_past_forward_is_left_alone() -> None:
    net = nn.ModuleDict({"pool": nn.MultiheadAttention(6, 2), "out_proj": nn.Linear(6, 6)})
    assert attach(net, 1, 1.0, ["out_proj"]) == ["out_proj"]


def test_a_clip_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.CLIPModel.from_pretrained(tiny_transformers.write_clip(tmp_path / "clip")).eval()
    pixels = torch.randn(2, 3, tiny_transformers.SIZE, tiny_transformers.SIZE)

    def vectors() -> torch.Tensor:
        return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)

    before, names = vectors(), list(model.state_dict())
    picked = attach(model.vision_model, 2, 4.0)
    assert len(picked) == 2 * len(CLIP_LAYERS)
    torch.testing.assert_close(vectors(), before, atol=0, rtol=0)
    optimizer = torch.optim.Adam([v for v in model.vision_model.parameters() if v.requires_grad], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        vectors().square().mean().backward()
        optimizer.step()
    after = vectors()
    assert not torch.allclose(after, before, atol=1e-2)
    merge(model.vision_model)
    torch.testing.assert_close(vectors(), after, atol=1e-4, rtol=1e-4)
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path / "tuned")
    again = transformers.CLIPModel.from_pretrained(tmp_path / "tuned")
    torch.testing.assert_close(again.state_dict(), model.state_dict())
