"""Cones of any small area, any blocks and any weights: equal to the whole area in the core."""

from __future__ import annotations

import h3
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hexes import ZION, numbers, some_edges
from placevec.geo.hex_levels import hex_levels
from placevec.nn.hexunet import ConeBatchingUNet, FullAreaUNet, HexGraph, HexUNetConfig, covered

DISK = sorted(h3.grid_disk(h3.latlng_to_cell(*ZION, 10), 9))
blocks = st.integers(0, 2)


@given(
    chosen=st.sets(st.integers(0, len(DISK) - 1), min_size=1),
    lateral=st.lists(blocks, min_size=1, max_size=3),
    down=st.lists(blocks, min_size=2, max_size=2),
    skip=st.sampled_from(["gate", "add", "cat"]),
    above=st.integers(0, 1),
    halo=st.sampled_from(["exact", 0, 1]),
    access=st.booleans(),
    seed=st.integers(0, 9),
)
def test_cones_are_the_whole_area_where_they_say_so(
    chosen: set[int],
    lateral: list[int],
    down: list[int],
    skip: str,
    above: int,
    halo: str | int,
    access: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    count = len(lateral)
    config = HexUNetConfig(
        dims=(4, 5, 6)[:count], lateral=tuple(lateral), decoder=tuple(down[: count - 1]), skip=skip, expand=1
    )
    levels = hex_levels(numbers([DISK[at] for at in chosen]), (10, 9, 8)[:count])
    graph = HexGraph.from_levels(levels, {10: some_edges(levels, 0, seed)} if access else None)
    net = FullAreaUNet(3, config).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
        x = torch.randn(graph.sizes[0], 3)
        told = net(x, graph)[0].numpy()
    cones = ConeBatchingUNet(levels, graph, config, levels.resolutions[-1] - above, halo)
    found = cones.run(net, x)[0]
    true = np.concatenate([covered(levels, config, cone) for cone in cones.cones()])
    assert true.all() or halo != "exact"
    np.testing.assert_allclose(found[true], told[true], atol=1e-5)
