"""The small CNN."""

from __future__ import annotations

import pytest
import torch

from placevec.nn.vision import SmallCNNConfig


@pytest.mark.parametrize(("bands", "side"), [(1, 8), (3, 16), (4, 17), (12, 33)])
def test_the_cnn_takes_any_bands_and_sizes(bands: int, side: int) -> None:
    net = SmallCNNConfig(bands=bands, width=4, dims=6).build().eval()
    chips = torch.randint(0, 255, (2, bands, side, side + 3), dtype=torch.uint8)
    assert net(chips).shape == (2, 6)


def test_the_cnn_normalises_with_its_buffers() -> None:
    net = SmallCNNConfig(bands=2, width=4, dims=3).build().eval()
    net.set_statistics(torch.tensor([100.0, 10.0]), torch.tensor([50.0, 0.0]))
    chips = torch.tensor([150.0, 10.0])[None, :, None, None].expand(1, 2, 8, 8).clone()
    assert torch.equal(net.normalise(chips)[0, :, 0, 0], torch.tensor([1.0, 0.0]))
    assert {"mean", "std"} <= set(net.state_dict())
    chips[0, 0, 0, 0] = torch.nan
    assert net.normalise(chips)[0, 0, 0, 0] == 0.0
    assert net(chips).isfinite().all()
    assert torch.equal(net(chips.nan_to_num(100.0).to(torch.uint8)), net(chips))


def test_the_mean_of_dense_vectors_is_the_vector_of_the_chip() -> None:
    net = SmallCNNConfig(width=4, dims=5).build().eval()
    x = torch.randn(2, 3, 16, 16)
    dense = torch.einsum("ncij,dc->ndij", net.features(x), net.head.weight) + net.head.bias[:, None, None]
    torch.testing.assert_close(dense.mean(dim=(2, 3)), net.project(x))
