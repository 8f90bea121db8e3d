"""The landscape network as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig
from placevec.nn.landscape.net import LIMIT

LAYERS = (PlaneConfig("cover", 4), PlaneConfig("height", 0, 500.0, 100.0))


def patches(n: int = 6, pixels: int = 12) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    height = 500 + 80 * torch.randn(n, pixels, pixels, generator=generator)
    height[0, :3] = torch.nan
    return {"cover": torch.randint(0, 5, (n, pixels, pixels), generator=generator, dtype=torch.uint8), "height": height}


def net_of(**changes: object) -> LandscapeNet:
    torch.manual_seed(2)
    return LandscapeNet(
        LandscapeConfig(
            **{"layers": LAYERS, "pixels": 12, "dims": 5, "stem": 3, "widths": (4, 6), "hidden": 7, **changes}
        )
    )


@pytest.mark.parametrize("changes", [{}, {"widths": ()}, {"statistics": False}, {"hidden": 0}, {"depth": 2}])
def test_every_form_gives_vectors_whose_length_counts_and_learns(changes: dict[str, object]) -> None:
    net = net_of(**changes)
    vectors = net(patches())
    assert vectors.shape == (6, 5)
    lengths = vectors.detach().norm(dim=1)
    assert lengths.isfinite().all()
    assert lengths.max() > 1.001 * lengths.min() > 0
    assert net.count == net.features(patches()).shape[1]
    vectors[:, 0].sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # What stands before a last layer of zeros begins to learn at the second step.
        assert name.startswith("perceptron.0") or parameter.grad.abs().sum() > 0, name


def test_it_begins_as_its_linear_head() -> None:
    net = net_of(dropout=0.5).eval()
    scaled = ((net.features(patches()) - net.mean) / net.spread).clamp(-LIMIT, LIMIT)
    torch.testing.assert_close(net.scaled(patches()), scaled)
    torch.testing.assert_close(net(patches()), scaled @ net.linear.weight.T + net.linear.bias)
    assert net.perceptron is not None
    torch.nn.init.ones_(net.perceptron[-1].weight)
    expected = net.linear(scaled) + net.perceptron(scaled)
    assert not torch.allclose(expected, net.linear(scaled))
    torch.testing.assert_close(net(patches()), expected)


def test_what_is_rarer_than_rare_is_cut() -> None:
    net = net_of().eval()
    found = net.features(patches()).detach()
    net.mean.copy_(found.mean(dim=0))
    net.spread.copy_(found.std(dim=0) / 3 + 1e-6)
    scaled = net.scaled(patches()).detach()
    apart = (found - net.mean) / net.spread
    assert (apart.abs() > LIMIT).any()
    assert (apart.abs() < LIMIT).any()
    for i, j in np.ndindex(*scaled.shape):
        assert float(scaled[i, j]) == pytest.approx(min(max(float(apart[i, j]), -LIMIT), LIMIT), abs=1e-5)


@pytest.mark.parametrize("widths", [(), (4, 6)])
def test_what_can_be_said_of_a_patch_are_its_scaled_statistics(widths: tuple[int, ...]) -> None:
    net = net_of(widths=widths).eval()
    net.mean.normal_(generator=torch.Generator().manual_seed(3))
    net.spread.fill_(0.3)
    assert net.statistics is not None
    told = net.described(patches())
    assert told.shape == (6, net.statistics.count)
    torch.testing.assert_close(told, net.scaled(patches())[:, : net.statistics.count])


def test_scales_are_kept_with_the_weights_and_constants_are_not() -> None:
    state = net_of().state_dict()
    assert {"mean", "spread"} <= set(state)
    assert not [name for name in state if name.startswith(("statistics", "planes"))]


def test_statistics_alone_do_not_see_turns_and_the_whole_does() -> None:
    turned = {name: torch.rot90(values, 1, (1, 2)) for name, values in patches().items()}
    still, whole = net_of(widths=()).eval(), net_of().eval()
    torch.testing.assert_close(still(patches()), still(turned), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(whole(patches()), whole(turned), atol=1e-3)
