"""The network that fuses, and its vectors."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from hexes import some_edges, torn
from placevec.errors import UsageError
from placevec.nn.fusion import FusionConfig, FusionNet, ModalityConfig, Tokens, VectorReader, plain_unet
from placevec.nn.hexunet import ConeBatchingUNet
from placevec.train.fuse import FuseArea, fuse_area
from tiny_city import modalities


@pytest.fixture(scope="module")
def area() -> FuseArea:
    cells = torn(9, 7)
    return fuse_area(cells, list(modalities(cells).values()), (9, 8, 7), lambda levels: {9: some_edges(levels, 0)})


@pytest.fixture(scope="module")
def net(area: FuseArea) -> FusionNet:
    torch.manual_seed(0)
    forms = ("bins", "bins", "values")
    codes = [Tokens.fit(area.modality(k), form, 4) for k, form in enumerate(forms)]
    shapes = tuple(
        ModalityConfig(name, count, code.count, form)
        for name, count, code, form in zip(("roads", "transit", "pictures"), area.columns, codes, forms, strict=True)
    )
    config = FusionConfig(shapes, (9, 8, 7), width=16, part=5, unet=plain_unet(3, 16))
    made = FusionNet(config, codes).eval()
    with torch.no_grad():  # the learned branches begin small: a difference must be able to show
        for block in made.unet.modules():
            if hasattr(block, "scale"):
                block.scale.fill_(1.0)
    return made


def whole(net: FusionNet, area: FuseArea) -> torch.Tensor:
    with torch.inference_mode():
        return net.vectors(torch.from_numpy(area.x), area.graph)


def test_a_part_that_is_told_does_not_see_what_it_tells(net: FusionNet, area: FuseArea) -> None:
    before = whole(net, area)
    changed = area.x.copy()
    changed[:, :3] += 1.0  # the roads of all cells
    with torch.inference_mode():
        after = net.vectors(torch.from_numpy(changed), area.graph)
    for name, start, stop in net.config.blocks:
        same = torch.equal(before[:, start:stop], after[:, start:stop])
        if name in ("roads told", "transit", "transit around", "pictures", "pictures around"):
            assert same, name
        else:
            assert not same, name


def test_blocks_cover_the_vector(net: FusionNet, area: FuseArea) -> None:
    blocks = net.config.blocks
    assert [name for name, _, _ in blocks] == [
        *("roads", "transit", "pictures"),
        *("roads around", "transit around", "pictures around"),
        *("roads told", "transit told", "pictures told"),
    ]
    assert blocks[0][1] == 0
    assert all(left[2] == right[1] for left, right in pairwise(blocks))
    assert blocks[-1][2] == net.config.dims == whole(net, area).shape[1]


def test_an_absent_modality_is_not_a_zero(net: FusionNet, area: FuseArea) -> None:
    row = int(np.flatnonzero(area.x[:, -1] > 0.5)[0])
    zero, absent = area.x.copy(), area.x.copy()
    zero[row, 5:9] = 0.0
    absent[row, 5:9] = 0.0
    absent[row, -1] = 0.0
    with torch.inference_mode():
        one = net.vectors(torch.from_numpy(zero), area.graph)[row]
        other = net.vectors(torch.from_numpy(absent), area.graph)[row]
    start, stop = next((a, b) for name, a, b in net.config.blocks if name == "roads told")
    assert not torch.allclose(one[start:stop], other[start:stop])


def test_the_mean_around_is_of_the_cells_that_have_it(net: FusionNet, area: FuseArea) -> None:
    codes, present = net.coded(torch.from_numpy(area.x))
    around = net.around(codes, present, area.graph)[2]
    weight = area.graph.lateral[0].weight.numpy()
    near = area.graph.lateral[0].near.numpy()
    here = present[:, 2].numpy()
    for row in range(0, len(area.x), 7):
        counts = weight[row] * here[near[row]]
        if counts.sum() < 1e-6:
            continue
        wanted = (counts[:, None] * codes[2].numpy()[near[row]]).sum(axis=0) / counts.sum()
        np.testing.assert_allclose(around[row].numpy(), wanted, atol=1e-4)


def test_gates_say_what_is_read(net: FusionNet, area: FuseArea) -> None:
    codes, present = net.coded(torch.from_numpy(area.x))
    fused, weight = net.gates(codes, present)
    assert fused.shape == (len(area.x), 16)
    assert bool(((weight > 0) & (weight < 2)).all())
    assert weight[:, 0].std() > 0  # a gate of its own for each cell


def test_cones_give_what_the_whole_area_gives(net: FusionNet, area: FuseArea) -> None:
    cones = ConeBatchingUNet(area.levels, area.graph, net.config.unet, 6)
    assert len(cones) > 1
    found = cones.run(VectorReader(net), area.x)[0]
    np.testing.assert_allclose(found, whole(net, area).numpy(), atol=1e-5)


def test_less_memory_is_the_same_gradient(net: FusionNet, area: FuseArea) -> None:
    lean = FusionNet(replace(net.config, unet=replace(net.config.unet, checkpoint=True)))
    lean.load_state_dict(net.state_dict())
    gradients = []
    for one in (net, lean):
        one.zero_grad()
        codes, present = one.coded(torch.from_numpy(area.x))
        one.states(codes, present, area.graph)[0].square().sum().backward()
        gradients.append([part.grad.clone() for part in one.enter.parameters()])
        one.zero_grad()
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_without_its_own_columns(net: FusionNet, area: FuseArea) -> None:
    config = FusionConfig(net.config.modalities, (9, 8, 7), 16, 5, False, net.config.unet)
    assert config.dims == 15
    lean = FusionNet(config).eval()
    lean.load_state_dict(net.state_dict())
    torch.testing.assert_close(whole(lean, area), whole(net, area)[:, -15:])


def test_settings_that_cannot_be() -> None:
    one = ModalityConfig("roads", 3, 9)
    with pytest.raises(UsageError, match="at least 2"):
        FusionConfig((one,), (9, 8, 7))
    with pytest.raises(UsageError, match="called 'roads'"):
        FusionConfig((one, one), (9, 8, 7))
    with pytest.raises(UsageError, match="3 levels for 2 resolutions"):
        FusionConfig((one, ModalityConfig("poi", 2, 2)), (9, 8))
