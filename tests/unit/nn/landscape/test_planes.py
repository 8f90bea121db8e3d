"""From layers to planes: one for each class, and of values what they are and where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.nn.landscape.config import PlaneConfig
from placevec.nn.landscape.planes import LIMIT, Planes


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([torch.uint8, torch.int32, torch.int64]))
def test_a_plane_of_each_class(seed: int, classes: int, dtype: torch.dtype) -> None:
    patches = np.random.default_rng(seed).integers(0, classes + 1, (3, 4, 4))
    planes = Planes((PlaneConfig("cover", classes),))({"cover": torch.from_numpy(patches).to(dtype)})
    assert planes.dtype == torch.float32
    for i, y, x in np.ndindex(3, 4, 4):
        wanted = np.zeros(classes)
        if patches[i, y, x]:
            wanted[patches[i, y, x] - 1] = 1
        np.testing.assert_array_equal(planes[i, :, y, x], wanted)


def test_all_255_classes_can_be_told_apart() -> None:
    codes = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    planes = Planes((PlaneConfig("cover", 255),))({"cover": codes})
    assert planes.sum(dim=1).flatten().tolist() == [0.0] + [1.0] * 255
    assert planes.sum(dim=(0, 2, 3)).tolist() == [1.0] * 255


def test_values_are_scaled_the_same_everywhere_and_cut() -> None:
    values = torch.tensor([[[700.0, 1000.0], [float("nan"), 1e9]], [[float("inf"), -1e9], [850.0, -float("inf")]]])
    planes = Planes((PlaneConfig("height", 0, 700.0, 150.0),))({"height": values})
    assert planes[:, 0].tolist() == [[[0.0, 2.0], [0.0, LIMIT]], [[0.0, -LIMIT], [1.0, 0.0]]]
    assert planes[:, 1].tolist() == [[[1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]


def test_nothing_known_is_nothing_in_all_planes() -> None:
    layers = (PlaneConfig("cover", 4), PlaneConfig("height", 0, 500.0, 10.0))
    planes = Planes(layers)(
        {"cover": torch.zeros(2, 8, 8, dtype=torch.uint8), "height": torch.full((2, 8, 8), torch.nan)}
    )
    assert planes.shape == (2, 6, 8, 8)
    assert not planes.any()


def test_layers_come_in_the_order_of_the_shape_whatever_the_batch_says() -> None:
    cover = torch.full((1, 2, 2), 2, dtype=torch.uint8)
    batch = {"other": torch.full((1, 2, 2), 3.0), "soil": torch.ones(1, 2, 2, dtype=torch.uint8), "cover": cover}
    planes = Planes((PlaneConfig("cover", 2), PlaneConfig("soil", 1)))(batch)
    assert planes[0, :, 0, 0].tolist() == [0.0, 1.0, 1.0]
    with pytest.raises(KeyError):
        Planes((PlaneConfig("slope"),))(batch)
