"""The landscape network as a whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig

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
def test_every_form_gives_vectors_of_length_one_and_learns(changes: dict[str, object]) -> None:
    net = net_of(**changes)
    vectors = net(patches())
    assert vectors.shape == (6, 5)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    assert net.count == net.features(patches()).shape[1]
    vectors[:, 0].sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # What stands before a last layer of zeros begins to learn at the second step.
        assert name.startswith("perceptron.0") or parameter.grad.abs().sum() > 0, name


def test_it_begins_as_its_linear_head() -> None:
    net = net_of(dropout=0.5).eval()
    scaled = (net.features(patches()) - net.mean) / net.spread
    torch.testing.assert_close(net.project(patches()), net.linear(scaled))
    torch.testing.assert_close(net(patches()), F.normalize(net.linear(scaled), dim=1))
    assert net.perceptron is not None
    torch.nn.init.ones_(net.perceptron[-1].weight)
    assert not torch.allclose(net.project(patches()), net.linear(scaled))


def test_scales_are_kept_with_the_weights_and_constants_are_not() -> None:
    state = net_of().state_dict()
    assert {"mean", "spread"} <= set(state)
    assert not [name for name in state if name.startswith(("statistics", "planes"))]


def test_statistics_alone_do_not_see_turns_and_the_whole_does() -> None:
    turned = {name: torch.rot90(values, 1, (1, 2)) for name, values in patches().items()}
    still, whole = net_of(widths=()).eval(), net_of().eval()
    torch.testing.assert_close(still(patches()), still(turned), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(whole(patches()), whole(turned), atol=1e-3)
