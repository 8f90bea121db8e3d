"""The loss of the mixture against a loop over samples and hypotheses."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

import torch

import tiny_locator as tiny
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, distance_m, from_tangent
from placevec.train.locate.mixture import FLOOR, mixture_loss

AREA_M2 = 3e11


def asked(n: int = 7) -> tuple:
    """A head, fused vectors, its joint law, centres and true points."""
    locator = tiny.tiny_locator(gallery=False)
    rng = np.random.default_rng(3)
    fused = torch.from_numpy(rng.normal(size=(n, 16)).astype(np.float32)).requires_grad_()
    head = locator.head
    joint = head.joint_logs(head.region_logits(fused), head.cell_logits(fused))
    truth = tiny.country(n, 5).lonlat
    return head, fused, joint, locator.geocells, truth


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_it_is_the_mean_over_samples_of_a_sum_over_hypotheses(count: int) -> None:
    head, fused, joint, cells, truth = asked()
    loss = mixture_loss(
        head,
        fused,
        joint,
        torch.from_numpy(cells.centres.unit()),
        torch.from_numpy(truth.unit()),
        AREA_M2,
        hypotheses=count,
    )
    logs = joint.detach().double().numpy()
    each = []
    for row in range(len(logs)):
        best = np.argsort(-logs[row])[:count]
        weights = np.exp(logs[row][best]) / np.exp(logs[row][best]).sum()
        density = 0.0
        for weight, cell in zip(weights, best, strict=True):
            with torch.no_grad():
                offset, spread = head.offsets(fused[row : row + 1], torch.tensor([[int(cell)]]))
            east, north = offset[0, 0].double().numpy()
            point = from_tangent(cells.centres[np.array([cell])], np.array([east]), np.array([north]))
            apart = float(distance_m(point, LonLat(truth.lon[row : row + 1], truth.lat[row : row + 1]))[0])
            s = math.exp(float(spread[0, 0]))
            kappa = (EARTH_RADIUS_M / s) ** 2
            chord = 2.0 * math.sin(apart / EARTH_RADIUS_M / 2.0)
            per_m2 = (
                kappa / (2 * math.pi * EARTH_RADIUS_M**2 * -math.expm1(-2 * kappa)) * math.exp(-kappa * chord**2 / 2)
            )
            density += weight * per_m2 * 1e6
        each.append(-math.log((1.0 - FLOOR) * density + FLOOR / (AREA_M2 / 1e6)))
    assert float(loss.detach()) == pytest.approx(float(np.mean(each)), rel=1e-5)


def test_one_far_image_costs_no_more_than_the_floor_and_gradients_are_finite() -> None:
    head, fused, joint, cells, _ = asked(4)
    centres = torch.from_numpy(cells.centres.unit())
    antipodes = -centres[:4].clone()
    at_centre = centres[:4].clone()
    for unit in (antipodes, at_centre):
        head.zero_grad()
        fused.grad = None
        loss = mixture_loss(head, fused, joint, centres, unit, AREA_M2)
        assert float(loss.detach()) <= -math.log(FLOOR / (AREA_M2 / 1e6)) + 1e-9
        loss.backward(retain_graph=True)
        grads = [fused.grad, *(value.grad for value in head.parameters() if value.grad is not None)]
        assert all(torch.isfinite(grad).all() for grad in grads)
    assert float(fused.grad.abs().sum()) > 0


def test_a_probable_wrong_cell_learns_from_it_too() -> None:
    """The offset head is asked about every hypothesis, not about the true cell alone."""
    head, fused, _, cells, _ = asked(1)
    centres = torch.from_numpy(cells.centres.unit())
    logs = torch.full((1, len(cells)), -20.0)
    logs[0, 1] = 0.0  # sure of cell 1
    unit = centres[:1] + 0.5 * (centres[1:2] - centres[:1])
    unit = unit / unit.norm(dim=1, keepdim=True)
    mixture_loss(head, fused, logs.log_softmax(1), centres, unit, AREA_M2, hypotheses=1).backward()
    assert float(sum(p.grad.abs().sum() for p in head.offset_head.parameters() if p.grad is not None)) > 0
