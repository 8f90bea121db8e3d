"""The Fisher network: what it learns, views, sizes, odd images, and vectors at positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tiny_fisher as tiny
from placevec.errors import DataError, UsageError
from placevec.nn.vision import FisherConfig, FisherNet, vision_config
from placevec.nn.vision.fisher import net as module
from placevec.nn.vision.fisher.channel import Channel
from placevec.nn.vision.fisher.descriptors import seen


def learned(**changes: Any) -> FisherNet:
    net = tiny.encoder(**changes).net.net
    assert isinstance(net, FisherNet)
    return net


def test_all_views_are_those_of_the_image_that_is_flipped() -> None:
    net = learned()
    images = net.normalise(torch.from_numpy(tiny.chips(4, seed=5)))
    fixed = net.fixed(images)
    assert fixed.shape == (4, 8, net.channels) == (4, 8, 19)
    for view in range(8):
        torch.testing.assert_close(net.fixed(seen(images, view))[:, 0], fixed[:, view], atol=2e-3, rtol=1e-3)
    # So an image and its mirror image have one vector.
    vectors = net.project(images)
    for view in range(1, 8):
        torch.testing.assert_close(net.project(seen(images, view)), vectors, atol=1e-3, rtol=1e-3)
    upright = learned(views=1)
    assert upright.fixed(images).shape == (4, 1, 19)
    assert (upright.project(seen(images, 4)) - upright.project(images)).abs().max() > 1e-2


def test_short_vectors_have_a_deviation_of_one_and_no_share_in_common() -> None:
    net = learned(n=60, shrink=0.0, views=1)
    short = net.fixed(net.normalise(torch.from_numpy(tiny.chips(60))))[:, 0]
    for part in short.split([12, 7], dim=1):
        torch.testing.assert_close(part.mean(dim=0), torch.zeros(part.shape[1]), atol=1e-3, rtol=0)
        squares = (part.T @ part / len(part)).numpy()
        np.testing.assert_allclose(squares, np.eye(len(squares)), atol=0.03)


def test_weak_axes_are_shrunk() -> None:
    net = learned(n=60, shrink=1.0, views=1)
    deviations = net.fixed(net.normalise(torch.from_numpy(tiny.chips(60))))[:, 0, :12].std(dim=0)
    assert (deviations.diff() < 0).all()
    assert deviations[0] > 1.5 * deviations[-1]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_fewer_images_than_components(count: int) -> None:
    net = learned(n=count)
    for part in net.parts:
        kept = (part.axes != 0).any(dim=0)
        assert int(kept.sum()) == count - 1  # the axes of so many points about their mean
    assert net(torch.from_numpy(tiny.chips(3, seed=9))).isfinite().all()


def test_no_images() -> None:
    net = tiny.config().build()
    with pytest.raises(DataError, match="no images: a Fisher network learns from some"):
        net.learn(torch.zeros(0, 3, 24, 24), 0)
    assert net.fixed(torch.zeros(0, 3, 24, 24)).shape == (0, 8, 19)


def test_odd_images_have_vectors() -> None:
    net = learned()
    plain = torch.full((2, 3, 24, 24), 7, dtype=torch.uint8)
    assert net(plain).isfinite().all()
    missing = torch.from_numpy(tiny.chips(2).astype(np.float32))
    whole = net(missing)
    missing[0, :, 3:9, 3:9] = torch.nan
    missing[0, 1, 20, 20] = torch.inf
    assert net(missing).isfinite().all()
    torch.testing.assert_close(net(missing)[1], whole[1])
    missing[:] = torch.nan
    assert net(missing).isfinite().all()
    # Learned from nothing but plain images, it tells none from another, and says so in numbers.
    blank = learned(learned=np.full((5, 3, 24, 24), 9, dtype=np.uint8))
    assert blank(plain).isfinite().all()


@pytest.mark.parametrize("bands", [1, 12])
def test_any_number_of_bands(bands: int) -> None:
    net = learned(bands=bands, colour_dims=40)
    assert net.parts[1].mixture.dims == min(40, 32 * bands)
    assert net(torch.from_numpy(tiny.chips(3, bands))).shape == (3, 6)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (40, 33), (15, 60), (9, 20), (1, 1)])
def test_images_as_they_come(height: int, width: int) -> None:
    net = learned(pixels=0)
    chips = torch.from_numpy(tiny.chips(3, height=height, width=width))
    found = net(chips)
    assert found.shape == (3, 6)
    assert found.isfinite().all()
    # The largest scale is left out where it does not fit.
    assert len(list(net.parts[0].descriptors(net.normalise(chips)))) == (2 if min(height, width) >= 20 else 1)
    assert net.dense(chips).shape == (3, 6, max(1, height // 16), max(1, width // 16))


def test_other_images_do_not_change_the_answer() -> None:
    for changes in ({}, {"views": 1, "hidden": 0}):
        net = learned(**changes)
        chips = torch.from_numpy(tiny.chips(7))
        whole, dense = net(chips), net.dense(chips)
        for row in range(7):
            assert torch.equal(net(chips[row:])[0], whole[row])
            assert torch.equal(net.dense(chips[row:])[0], dense[row])


def test_it_learns_from_few_large_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(module, "_PIXELS", 24 * 24 * 3)
    monkeypatch.setattr(Channel, "learn", lambda part, batches, count, seed: sizes.append([*map(len, batches())]))
    tiny.config().build().learn(torch.from_numpy(tiny.chips(20)), 0)
    assert sizes == [[3, 3, 3, 3, 3, 1, 3, 1]] * 2
    sizes.clear()
    monkeypatch.setattr(module, "_LEARNED", 8)
    tiny.config().build().learn(torch.from_numpy(tiny.chips(20)), 0)
    assert sizes == [[3, 3, 1]] * 2  # each third of them


def test_what_is_learned_depends_on_the_seed_alone() -> None:
    one, two, other = (tiny.encoder(seed).net.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("net.kinds.0.mixture.means", "net.kinds.1.axes", "net.mlp.1.weight"):
        assert not torch.equal(one[name], other[name])


def test_a_window_is_the_image_that_is_cut_out() -> None:
    # In one view, and where the cells of the grid hold the very descriptors that the cut image has: with one scale of
    # 4-pixel cells at every pixel, a cell of 16 pixels holds the 16 descriptors whose centres lie in it, which reach 8
    # pixels further on each side.
    net = learned(pixels=0, views=1, stride=1, step=16, window=1, gradient_cells=(4,), colour_cells=(4,))
    net.eval()
    image = torch.from_numpy(tiny.chips(1, height=96, width=80, seed=3))
    dense = net.dense(image)
    assert dense.shape == (1, 6, 6, 5)
    for row, column in ((1, 1), (2, 3), (4, 2)):
        # Centres at whole pixels 16 r .. 16 r + 15 are those of descriptors that begin 8 pixels before.
        top, left = row * 16 - 8, column * 16 - 8
        cut = image[:, :, top : top + 31, left : left + 31]
        # Gradients at the rim of a cut image are others: so the sums are taken from descriptors of the whole one.
        parts = []
        for part in net.parts:
            (_, found), *_ = part.descriptors(net.normalise(image))
            own = found[:, top : top + 16, left : left + 16].flatten(3).flatten(1, 2)
            parts.append(part.reduce(part.statistics(own)))
        torch.testing.assert_close(net.read(torch.cat(parts, dim=1))[0], dense[0, :, row, column], atol=1e-3, rtol=1e-3)
        # And of the cut image itself nearly so.
        again = net(cut)[0]
        assert torch.nn.functional.cosine_similarity(again, dense[0, :, row, column], dim=0) > 0.9


def test_positions_average_near_the_vector() -> None:
    net = learned(views=1, pixels=64, step=8, window=4)
    net.eval()
    chips = torch.from_numpy(tiny.chips(5, height=64, width=64, seed=4))
    near = torch.nn.functional.cosine_similarity(net.dense(chips).mean(dim=(2, 3)), net(chips), dim=1)
    assert near.min() > 0.8
    assert net.dense(chips, (96, 128)).shape == (5, 6, 12, 16)


def test_training_reads_noisy_short_vectors_and_changes_the_head_alone() -> None:
    net = learned()
    fixed = net.fixed(net.normalise(torch.from_numpy(tiny.chips(4))))
    assert not fixed.requires_grad
    assert torch.equal(net.eval().read(fixed), net.read(fixed))
    net.train()
    assert not torch.equal(net.read(fixed), net.read(fixed))
    assert {name.split(".")[0] for name, _ in net.named_parameters()} == {"mlp"}
    linear = learned(hidden=0)
    assert [name for name, _ in linear.named_parameters()] == ["mlp.1.weight", "mlp.1.bias"]
    assert linear(torch.from_numpy(tiny.chips(2))).shape == (2, 6)
    assert len(learned(colour_cells=()).parts) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stride": 0}, "stride = 0"),
        ({"pixels": -1}, "pixels = -1"),
        ({"gradient_cells": ()}, "sides in pixels"),
        ({"colour_cells": (4, 0)}, "sides in pixels"),
        ({"views": 4}, "views = 4: give 1 or 8"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"shrink": -0.1}, "shrink = -0.1"),
        ({"gradient_dims": 129}, "a descriptor has 128 numbers"),
        ({"colour_reduced": 0}, "colour_reduced = 0"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        FisherConfig(**wrong)
    with pytest.raises(UsageError, match=said):
        vision_config({"kind": "fisher", **wrong})
