"""Each loss against a slow form of its formula: loops over samples in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from placevec.nn.losses import Temperature, nt_xent, symmetric_infonce, vicreg


def pair(n: int = 7, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, d))


def cosine(p: np.ndarray, q: np.ndarray) -> float:
    return float(p @ q / math.sqrt((p @ p) * (q @ q)))


def slow_infonce(a: np.ndarray, b: np.ndarray, scale: float, positives: np.ndarray) -> float:
    def one_way(queries: np.ndarray, items: np.ndarray, own: np.ndarray) -> float:
        total = 0.0
        for i, query in enumerate(queries):
            below = sum(math.exp(scale * cosine(query, item)) for item in items)
            mine = [j for j in range(len(items)) if own[i, j] or i == j]
            total -= sum(math.log(math.exp(scale * cosine(query, items[j])) / below) for j in mine) / len(mine)
        return total / len(queries)

    return (one_way(a, b, positives) + one_way(b, a, positives.T)) / 2


def slow_nt_xent(a: np.ndarray, b: np.ndarray, t: float) -> float:
    z = [*a, *b]
    n, total = len(a), 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        below = sum(math.exp(cosine(z[i], z[k]) / t) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(cosine(z[i], z[partner]) / t) / below)
    return total / (2 * n)


def slow_vicreg(a: np.ndarray, b: np.ndarray, weights: tuple[float, float, float]) -> float:
    n, d = a.shape
    near = sum((a[i, j] - b[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    spread = entangled = 0.0
    for z in (a, b):
        mean = [sum(z[:, j]) / n for j in range(d)]
        for j in range(d):
            for k in range(d):
                c = sum((z[i, j] - mean[j]) * (z[i, k] - mean[k]) for i in range(n)) / (n - 1)
                if j == k:
                    spread += max(0.0, 1.0 - math.sqrt(c + 1e-4)) / d
                else:
                    entangled += c * c / d
    return weights[0] * near + weights[1] * spread / 2 + weights[2] * entangled


@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_symmetric_infonce(scale: float) -> None:
    a, b = pair()
    got = symmetric_infonce(torch.from_numpy(a), torch.from_numpy(b), scale)
    assert float(got) == pytest.approx(slow_infonce(a, b, scale, np.zeros((7, 7), dtype=bool)), rel=1e-12)


def test_symmetric_infonce_with_several_positives() -> None:
    a, b = pair(seed=1)
    positives = np.random.default_rng(2).random((7, 7)) < 0.3
    got = symmetric_infonce(torch.from_numpy(a), torch.from_numpy(b), 5.0, torch.from_numpy(positives))
    assert float(got) == pytest.approx(slow_infonce(a, b, 5.0, positives), rel=1e-12)
    none = symmetric_infonce(torch.from_numpy(a), torch.from_numpy(b), 5.0, torch.zeros(7, 7, dtype=torch.bool))
    assert float(none) == pytest.approx(float(symmetric_infonce(torch.from_numpy(a), torch.from_numpy(b), 5.0)))


def test_symmetric_infonce_with_further_negatives() -> None:
    a, b = pair(seed=5)
    rng = np.random.default_rng(6)
    further, positives = rng.normal(size=(4, 5)), rng.random((7, 7)) < 0.2
    excluded = rng.random((7, 4)) < 0.4
    excluded[2] = True  # a row without any of them
    for mine in (np.zeros((7, 7), dtype=bool), positives):
        own = mine | np.eye(7, dtype=bool)
        total = 0.0
        for i in range(7):
            below = sum(math.exp(5 * cosine(b[i], a[j])) for j in range(7))
            below += sum(math.exp(5 * cosine(b[i], further[k])) for k in range(4) if not excluded[i, k])
            here = [j for j in range(7) if own[j, i]]
            total -= sum(math.log(math.exp(5 * cosine(b[i], a[j])) / below) for j in here) / len(here) / 7
        there = 0.0
        for i in range(7):
            below = sum(math.exp(5 * cosine(a[i], b[j])) for j in range(7))
            here = [j for j in range(7) if own[i, j]]
            there -= sum(math.log(math.exp(5 * cosine(a[i], b[j])) / below) for j in here) / len(here) / 7
        x, y, q = (torch.from_numpy(value).requires_grad_() for value in (a, b, further))
        got = symmetric_infonce(x, y, 5.0, torch.from_numpy(mine), q, torch.from_numpy(excluded))
        assert float(got.detach()) == pytest.approx((total + there) / 2, rel=1e-12)
        got.backward()
        assert all(value.grad is not None and value.grad.isfinite().all() for value in (x, y, q))
    plain = symmetric_infonce(torch.from_numpy(a), torch.from_numpy(b), 5.0)
    nothing = torch.ones(7, 4, dtype=torch.bool)
    left = symmetric_infonce(
        torch.from_numpy(a), torch.from_numpy(b), 5.0, negatives=torch.from_numpy(further), excluded=nothing
    )
    assert float(left) == pytest.approx(float(plain), rel=1e-12)


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_nt_xent(t: float) -> None:
    a, b = pair(seed=3)
    got = nt_xent(torch.from_numpy(a), torch.from_numpy(b), t)
    assert float(got) == pytest.approx(slow_nt_xent(a, b, t), rel=1e-12)


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_vicreg(weights: tuple[float, float, float]) -> None:
    a, b = pair(seed=4)
    a, b = a * 0.7, b * 1.3  # so that the hinge is on both sides
    got = vicreg(
        torch.from_numpy(a), torch.from_numpy(b), invariance=weights[0], variance=weights[1], covariance=weights[2]
    )
    assert float(got) == pytest.approx(slow_vicreg(a, b, weights), rel=1e-12)


def test_large_scales_do_not_overflow() -> None:
    a, b = (torch.from_numpy(x).float() for x in pair())
    assert symmetric_infonce(a, b, 1000.0).isfinite()
    assert nt_xent(a, b, 1e-3).isfinite()


def test_the_temperature_is_kept_within_its_limits_and_comes_back() -> None:
    temperature = Temperature(initial=0.07, ceiling=100.0)
    assert float(temperature().detach()) == pytest.approx(1 / 0.07)
    with torch.no_grad():
        temperature.log_scale.fill_(9.0)
    scale = temperature()
    assert float(scale.detach()) == pytest.approx(100.0)
    scale.backward()
    assert temperature.log_scale.grad is not None
    assert float(temperature.log_scale.grad) > 0  # a clamp in the graph would give 0, and hold it there for ever
    with torch.no_grad():
        temperature.log_scale.fill_(-3.0)
    assert float(temperature().detach()) == pytest.approx(1.0)
