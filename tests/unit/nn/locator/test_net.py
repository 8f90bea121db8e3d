"""The head as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from locator_oracle import units
from placevec.errors import UsageError
from placevec.nn.locator import HeadConfig, LocatorHead
from placevec.nn.locator.losses import BalanceConfig, LocatorLoss, LossConfig, distance_m, move

CELLS = [4, 0, 6, 2]
N = sum(CELLS)
CONFIG = HeadConfig(dims=24, region_hidden=16, cell_hidden=16, cell_hidden_large=24, large_from=5, offset_hidden=16)


def head(config: HeadConfig = CONFIG, **options: torch.Tensor) -> LocatorHead:
    torch.manual_seed(0)
    return LocatorHead(config, [7, 9], CELLS, torch.linspace(2_000.0, 50_000.0, N), **options)


def batch(n: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    centres = torch.from_numpy(units(N, seed=7))
    cell = torch.randint(0, N, (n,), generator=draw)
    unit = torch.from_numpy(units(n, seed=seed + 1))
    return {"a": torch.randn(n, 7, generator=draw), "b": torch.randn(n, 9, generator=draw), "cell": cell,
            "unit": unit, "centres": centres}  # fmt: skip


def test_shapes_and_laws() -> None:
    made, given = head().eval(), batch()
    fused = made.fuse([given["a"], given["b"]])
    assert fused.shape == (8, 24)
    regions, cells = made.region_logits(fused), made.cell_logits(fused)
    assert (regions.shape, cells.shape) == ((8, 4), (8, N))
    torch.testing.assert_close(made.joint_logs(regions, cells).exp().sum(dim=1), torch.ones(8))
    per_region = torch.zeros(8, 4).index_add(1, made.region, made.cell_logs(cells).exp())
    torch.testing.assert_close(per_region, torch.tensor([1.0, 0.0, 1.0, 1.0]).expand(8, 4))
    offset, log_spread = made.offsets(fused, torch.tensor([[0, 11, 5]]).expand(8, 3))
    assert (offset.shape, log_spread.shape) == ((8, 3, 2), (8, 3))
    assert (offset.norm(dim=2) < made.offset_head.reach_m[torch.tensor([0, 11, 5])]).all()
    directions = made.auxiliary(fused)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(8))


def test_the_auxiliary_guess_begins_at_the_middle() -> None:
    middle = torch.from_numpy(units(1))[0]
    made = head(middle=middle).eval()
    guess = made.auxiliary(torch.randn(8, 24))
    assert float(distance_m(guess, middle.to(torch.float32)).max().detach()) < 2_000_000
    last = made.auxiliary_head[-1]
    assert float(distance_m(last.bias.detach(), middle.to(torch.float32))) < 1.0


def test_auxiliary_gradient_is_finite_for_a_vector_of_nothing() -> None:
    made = head()
    torch.nn.init.zeros_(made.auxiliary_head[-1].weight)
    torch.nn.init.zeros_(made.auxiliary_head[-1].bias)
    fused = torch.randn(3, 24, requires_grad=True)
    distance_m(made.auxiliary(fused), torch.tensor([1.0, 0.0, 0.0])).sum().backward()
    assert fused.grad.isfinite().all()
    assert made.auxiliary_head[-1].bias.grad.isfinite().all()


def test_weights_come_back_from_a_file() -> None:
    made, other = head().eval(), LocatorHead(CONFIG, [7, 9], CELLS, torch.ones(N)).eval()
    other.load_state_dict(load(save(made.state_dict())))
    given = batch()
    features = [given["a"], given["b"]]
    torch.testing.assert_close(other.fuse(features), made.fuse(features), rtol=0, atol=0)
    for one, two in zip(
        made.offsets(made.fuse(features), given["cell"][:, None]),
        other.offsets(other.fuse(features), given["cell"][:, None]),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("widths", "cells", "reach"),
    [
        ([], [1], [5.0]),
        ([0], [1], [5.0]),
        ([3], [], []),
        ([3], [0, 0], []),
        ([3], [2, -1], [5.0]),
        ([3], [2], [5.0]),
        ([3], [1], [float("nan")]),
        ([3], [1], [-1.0]),
    ],
)
def test_impossible_heads(widths: list[int], cells: list[int], reach: list[float]) -> None:
    with pytest.raises(UsageError):
        LocatorHead(CONFIG, widths, cells, torch.tensor(reach))


def test_a_cell_of_one_point_has_a_reach() -> None:
    made = LocatorHead(CONFIG, [3], [1, 1], torch.tensor([0.0, 10.0])).eval()
    offset, log_spread = made.offsets(torch.randn(2, 24), torch.tensor([[0], [1]]))
    assert offset.isfinite().all()
    assert log_spread.isfinite().all()


def loss_of(config: LossConfig, given: dict[str, torch.Tensor]) -> LocatorLoss:
    return LocatorLoss(config, given["centres"], head().region, torch.tensor([50, 0, 20, 5]), torch.full((4,), 1e10))


def test_the_total_is_the_weighted_sum() -> None:
    made, given = head().eval(), batch()
    config = LossConfig(region=0.3, cell=2.0, offset=1.5, spread=0.2, auxiliary=0.7, ramp=4, tiny_regions=True)
    fused = made.fuse([given["a"], given["b"]])
    region = made.region[given["cell"]]
    terms = loss_of(config, given)(made, fused, given["unit"], region, given["cell"], epoch=1)
    weights = {"region": 0.3, "cell": 2.0, "offset": 0.75, "spread": 0.1, "auxiliary": 0.7}
    assert set(terms) == {*weights, "total"}
    expected = sum(weight * float(terms[name].detach()) for name, weight in weights.items())
    assert float(terms["total"].detach()) == pytest.approx(expected, rel=1e-5)
    terms["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


def test_terms_without_weight_are_not_computed() -> None:
    made, given = head(), batch()
    fused, region = made.fuse([given["a"], given["b"]]), made.region[given["cell"]]
    config = LossConfig(cell=0, offset=0, spread=0, auxiliary=0)
    terms = loss_of(config, given)(made, fused, given["unit"], region, given["cell"])
    assert set(terms) == {"region", "total"}
    terms["total"].backward()
    assert all(p.grad is None for p in made.cell_heads.parameters())


def test_weights_of_rare_regions_reach_every_term() -> None:
    made, given = head().eval(), batch()
    fused, region = made.fuse([given["a"], given["b"]]), made.region[given["cell"]]
    given["cell"][:4], region = 0, made.region[given["cell"]]
    found = [
        loss_of(LossConfig(balance=BalanceConfig(remedy)), given)(made, fused, given["unit"], region, given["cell"])
        for remedy in ("none", "weights", "sampler")
    ]
    for name in ("region", "cell", "offset", "spread", "auxiliary"):
        assert float(found[0][name].detach()) != float(found[1][name].detach())
        assert float(found[0][name].detach()) == float(found[2][name].detach())  # the sampler is not in the loss


def test_tiny_regions_need_areas() -> None:
    with pytest.raises(UsageError, match="areas"):
        LocatorLoss(LossConfig(tiny_regions=True), torch.eye(3), torch.tensor([0, 0, 1]), torch.tensor([1, 1]))


def test_it_learns_a_small_country() -> None:
    """Features that show position: regions, cells and points are found, and the spread is that of the errors."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    unit = units(600, seed=3, spread_deg=2.0)
    centres = units(N, seed=4, spread_deg=2.0)
    cell = torch.from_numpy(np.argmax(unit @ centres.T, axis=1))
    made = LocatorHead(CONFIG, [7], CELLS, torch.full((N,), 200_000.0), middle=torch.from_numpy(centres.mean(axis=0)))
    shown = (unit - centres.mean(axis=0)) / unit.std(axis=0)
    features = torch.from_numpy(np.column_stack([shown, rng.normal(size=(600, 4))])).to(torch.float32)
    counts = torch.bincount(made.region[cell], minlength=4)
    losses = LocatorLoss(
        LossConfig(ramp=0, tau_km=10.0, offset_scale_km=30.0), torch.from_numpy(centres), made.region, counts
    )
    truth = torch.from_numpy(unit)
    optimiser = torch.optim.Adam(made.parameters(), lr=3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        fused = made.fuse([features])
        terms = losses(made, fused, truth, made.region[cell], cell)
        terms["total"].backward()
        optimiser.step()
    made.eval()
    with torch.no_grad():
        fused = made.fuse([features])
        found = made.joint_logs(made.region_logits(fused), made.cell_logits(fused)).argmax(dim=1)
        offset, log_spread = made.offsets(fused, found[:, None])
        error = distance_m(move(torch.from_numpy(centres)[found], offset[:, 0]), truth)
    assert float((found == cell).float().mean()) > 0.85
    assert float(error.median()) < 20_000
    # Half of the errors of a law of spread s are below 1.18 s.
    assert 0.3 < float(error.median() / log_spread.exp().median()) < 3.0
