"""Soft targets and losses of classification against loops over samples and cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import locator_oracle as oracle
from placevec.nn.locator.losses import geocell_loss, region_loss, region_tau, soft_targets
from placevec.nn.locator.segments import joint_log_softmax, segment_log_softmax

REGION = [0, 0, 0, 1, 1, 3, 3, 3, 3]  # region 2 is empty
N, P, ROWS = len(REGION), 4, 6


def example(seed: int = 0, spread_deg: float = 2.0) -> tuple[np.ndarray, np.ndarray, list[int]]:
    centres = oracle.units(N, seed, spread_deg)
    points = oracle.units(ROWS, seed + 1, spread_deg)
    nearest = np.argmax(points @ centres.T, axis=1).tolist()
    return points, centres, nearest


@pytest.mark.parametrize("cut", [None, 5.0, 1.0])
@pytest.mark.parametrize("tau_km", [5.0, 70.0, 500.0])
def test_soft_targets(cut: float | None, tau_km: float) -> None:
    points, centres, cells = example()
    got = soft_targets(torch.from_numpy(points), torch.from_numpy(centres), torch.tensor(cells), tau_km * 1000, cut)
    expected = oracle.soft(points, centres, cells, [tau_km * 1000] * ROWS, cut)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    assert got.dtype == torch.float32
    assert ((got == 0) == torch.from_numpy(expected == 0)).all() or tau_km == 5.0


def test_targets_cross_the_border_and_do_not_need_float64() -> None:
    points, centres, cells = example(spread_deg=0.3)
    arguments = torch.from_numpy(points), torch.from_numpy(centres)
    exact = soft_targets(*arguments, torch.tensor(cells))
    rough = soft_targets(*(part.to(torch.float32) for part in arguments), torch.tensor(cells))
    np.testing.assert_allclose(rough, exact, atol=1e-5)
    region = np.array(REGION)
    for row, cell in enumerate(cells):
        assert float(exact[row, region != region[cell]].sum()) > 0.2


def test_temperature_of_the_true_cell() -> None:
    points, centres, cells = example()
    tau = np.linspace(20_000, 90_000, N)
    got = soft_targets(torch.from_numpy(points), torch.from_numpy(centres), torch.tensor(cells), torch.from_numpy(tau))
    expected = oracle.soft(points, centres, cells, tau[cells].tolist(), 5.0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_a_true_cell_that_is_not_the_nearest_keeps_its_share() -> None:
    points, centres, _ = example()
    farthest = torch.from_numpy(np.argmin(points @ centres.T, axis=1))
    got = soft_targets(torch.from_numpy(points), torch.from_numpy(centres), farthest, 10_000.0)
    assert (got.gather(1, farthest[:, None]) > 0).sum() == 0 or got.isfinite().all()
    np.testing.assert_allclose(got.sum(dim=1), 1.0, rtol=1e-5)


def test_a_tiny_region_has_a_low_temperature() -> None:
    areas = torch.tensor([906e6, 205e9])
    tau = region_tau(areas, torch.tensor([0, 1, 1]))
    assert tau.tolist() == pytest.approx([math.sqrt(906e6 / math.pi), 70_000.0, 70_000.0], rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_geocell_loss_is_the_divergence_of_the_joint_law(weighted: bool) -> None:
    rng = np.random.default_rng(4)
    points, centres, cells = example()
    region_logits, cell_logits = rng.normal(size=(ROWS, P)), rng.normal(size=(ROWS, N))
    weights = rng.uniform(0.2, 3.0, ROWS) if weighted else np.ones(ROWS)
    q = soft_targets(torch.from_numpy(points), torch.from_numpy(centres), torch.tensor(cells), 70_000.0)
    region = torch.tensor(REGION)
    logs = segment_log_softmax(torch.from_numpy(cell_logits), region, P)
    has = torch.tensor([True, True, False, True])
    joint = joint_log_softmax(torch.from_numpy(region_logits), logs, region, has)
    law = oracle.joint(region_logits, cell_logits, REGION)
    np.testing.assert_allclose(joint.exp(), law, rtol=1e-12)
    got = geocell_loss(joint, q.to(torch.float64), torch.from_numpy(weights) if weighted else None)
    assert float(got) == pytest.approx(oracle.divergence(q.double().numpy(), law, weights.tolist()), rel=1e-9)
    assert float(got) > 0


def test_geocell_loss_of_the_target_itself_is_0_with_no_gradient() -> None:
    points, centres, cells = example()
    q = soft_targets(torch.from_numpy(points), torch.from_numpy(centres), torch.tensor(cells), 20_000.0)
    logits = q.clamp(min=1e-30).log().requires_grad_()
    loss = geocell_loss(logits.log_softmax(dim=1), q)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(logits.grad.abs().max()) < 1e-6


def test_geocell_loss_of_certain_but_wrong_laws_is_finite() -> None:
    q = torch.zeros(1, N)
    q[0, 0] = 1.0
    logits = torch.zeros(1, N)
    logits[0, -1] = 1e4
    logits.requires_grad_()
    logs = segment_log_softmax(logits, torch.tensor(REGION), P)
    certain = torch.tensor([[-1e4, 0.0, 0.0, 1e4]])
    loss = geocell_loss(joint_log_softmax(certain, logs, torch.tensor(REGION), torch.tensor([1, 1, 0, 1]).bool()), q)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_gradcheck_of_the_geocell_loss() -> None:
    rng = np.random.default_rng(5)
    points, centres, cells = example()
    q = soft_targets(torch.from_numpy(points), torch.from_numpy(centres), torch.tensor(cells), 70_000.0).double()
    region, has = torch.tensor(REGION), torch.tensor([True, True, False, True])

    def loss(regions: torch.Tensor, of_cells: torch.Tensor) -> torch.Tensor:
        return geocell_loss(joint_log_softmax(regions, segment_log_softmax(of_cells, region, P), region, has), q)

    logits = (torch.from_numpy(rng.normal(size=(ROWS, width))).requires_grad_() for width in (P, N))
    assert torch.autograd.gradcheck(loss, tuple(logits))


def test_region_loss() -> None:
    rng = np.random.default_rng(6)
    logits, target = rng.normal(size=(ROWS, P)), [0, 1, 1, 3, 0, 3]
    weights = [0.5, 2.0, 1.0, 4.0]
    got = region_loss(torch.from_numpy(logits), torch.tensor(target), torch.tensor(weights, dtype=torch.float64))
    assert float(got) == pytest.approx(oracle.cross_entropy(logits, target, weights), rel=1e-12)
    plain = region_loss(torch.from_numpy(logits), torch.tensor(target))
    assert float(plain) == pytest.approx(oracle.cross_entropy(logits, target, [1.0] * P), rel=1e-12)
