"""The linear layer without gradients against torch's own and against float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from placevec.nn.dense import ROWS, Linear, linear


@pytest.mark.parametrize("rows", [0, 1, ROWS - 1, ROWS, 1000])
@pytest.mark.parametrize("transposed", [False, True])
def test_without_gradients_it_is_right(rows: int, transposed: bool) -> None:
    torch.manual_seed(rows)
    x = torch.randn(70, rows).T if transposed else torch.randn(rows, 70)
    weight, bias = torch.randn(33, 70), torch.randn(33)
    exact = x.double() @ weight.double().T + bias.double()
    with torch.inference_mode():
        found = linear(x, weight, bias)
    assert (found.dtype, found.is_contiguous(), found.requires_grad) == (torch.float32, True, False)
    torch.testing.assert_close(found.double(), exact, atol=2e-5, rtol=1e-5)


def test_gradients_and_other_types_go_by_torch() -> None:
    x, layer = torch.randn(50, 8), Linear(8, 4)
    out = layer(x)
    torch.testing.assert_close(out, F.linear(x, layer.weight, layer.bias), atol=0.0, rtol=0.0)
    out.sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert linear(x.double(), layer.weight.double(), None).dtype == torch.float64
        assert linear(x[0], layer.weight, layer.bias).shape == (4,)
        torch.testing.assert_close(layer(x), out)


def test_its_weights_have_the_names_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    own, theirs = Linear(8, 4), nn.Linear(8, 4)
    own.load_state_dict(theirs.state_dict())
    x = torch.randn(40, 8)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with torch.no_grad():
        torch.testing.assert_close(own(x), theirs(x), atol=0.0, rtol=0.0)
