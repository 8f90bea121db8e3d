"""One remedy for rare regions, and what undoes it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from placevec.errors import UsageError
from placevec.nn.locator.losses import BalanceConfig, effective_weights, inverse_weights, logit_adjustment, region_loss

MEANS = np.array([-1.5, 0.0, 2.0])
PRIOR = np.array([0.85, 0.12, 0.03])


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A number x of each of three classes of different frequency: their true posterior is a softmax of lines."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=PRIOR)
    return MEANS[y] + rng.standard_normal(n), y


def posterior(x: np.ndarray) -> np.ndarray:
    logs = np.log(PRIOR) - (x[:, None] - MEANS) ** 2 / 2
    return np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))


def fit(x: np.ndarray, y: np.ndarray, weights: torch.Tensor | None) -> torch.nn.Linear:
    layer = torch.nn.Linear(1, 3).double()
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    inputs, target = torch.from_numpy(x)[:, None], torch.from_numpy(y)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = region_loss(layer(inputs), target, None if weights is None else weights.double())
        loss.backward()
        return loss

    optimiser.step(closure)
    return layer


@pytest.mark.parametrize("balance", [
    BalanceConfig(),
    BalanceConfig("weights", beta=0.9999),
    BalanceConfig("weights", beta=0.99999),
    BalanceConfig("sampler"),
    BalanceConfig("sampler", strength=0.5),
])  # fmt: skip
def test_one_remedy_and_its_adjustment_give_back_the_frequencies(balance: BalanceConfig) -> None:
    x, y = draw(60_000, 0)
    counts = np.bincount(y, minlength=3)
    chances = balance.drawn(counts)
    if chances is not None:
        rng = np.random.default_rng(1)
        p = chances.numpy()[y].astype(np.float64)
        rows = rng.choice(len(y), len(y), p=p / p.sum())
    else:
        rows = np.arange(len(y))
    layer = fit(x[rows], y[rows], balance.region_weights(counts))
    at = np.linspace(-4, 5, 200)
    with torch.no_grad():
        logits = layer(torch.from_numpy(at)[:, None])
    undone = F.softmax(logits + balance.adjustment(counts), dim=1).numpy()
    assert np.abs(undone - posterior(at)).max() < 0.06
    assert np.abs(undone - posterior(at)).mean() < 0.012
    if balance.remedy != "none":
        left = F.softmax(logits, dim=1).numpy()
        assert np.abs(left - posterior(at)).max() > 0.15  # without it, rare classes are found everywhere


def test_two_remedies_are_not_undone_by_one_adjustment() -> None:
    x, y = draw(60_000, 0)
    counts = np.bincount(y, minlength=3)
    p = inverse_weights(counts).numpy()[y].astype(np.float64)
    rows = np.random.default_rng(1).choice(len(y), len(y), p=p / p.sum())
    layer = fit(x[rows], y[rows], inverse_weights(counts))
    at = np.linspace(-4, 5, 200)
    with torch.no_grad():
        logits = layer(torch.from_numpy(at)[:, None])
    once = F.softmax(logits + logit_adjustment(counts, "balanced"), dim=1).numpy()
    assert np.abs(once - posterior(at)).max() > 0.15


def test_effective_weights_are_those_of_the_paper() -> None:
    counts = [9000, 300, 10, 0]
    got = effective_weights(counts, 0.99)
    raw = [(1 - 0.99) / (1 - 0.99 ** max(n, 1)) for n in counts]
    scale = sum(counts) / sum(w * n for w, n in zip(raw, counts, strict=True))
    assert got.tolist() == pytest.approx([scale * w for w in raw], rel=1e-6)
    assert effective_weights(counts, 0.0).tolist() == [1.0] * 4
    towards = effective_weights([9000, 300, 10], 1 - 1e-9)
    assert (towards / inverse_weights([9000, 300, 10])).tolist() == pytest.approx([1.0] * 3, rel=1e-4)


def test_adjustments() -> None:
    counts = [900, 90, 10]
    assert logit_adjustment(counts).tolist() == [0.0] * 3
    balanced = logit_adjustment(counts, "balanced")
    assert float(balanced.sum()) == pytest.approx(0.0, abs=1e-6)
    assert float(balanced[0] - balanced[2]) == pytest.approx(math.log(90), rel=1e-6)
    assert logit_adjustment(counts, inverse_weights(counts)).tolist() == pytest.approx(balanced.tolist(), abs=1e-6)
    assert logit_adjustment([5, 0], "balanced").isfinite().all()
    with pytest.raises(UsageError, match="'tuned'"):
        logit_adjustment(counts, "tuned")


@pytest.mark.parametrize("counts", [[0, 0], [-1, 5], [[1, 2]], [float("nan"), 1.0]])
def test_counts_that_are_none(counts: list) -> None:
    with pytest.raises(UsageError, match="counts"):
        effective_weights(counts)


@pytest.mark.parametrize("options", [{"beta": 1.0}, {"beta": -0.1}, {"strength": 1.5}, {"strength": -1.0}])
def test_impossible_settings(options: dict) -> None:
    with pytest.raises(UsageError, match="balance"):
        BalanceConfig(**options)
    if "beta" in options:
        with pytest.raises(UsageError, match="beta"):
            effective_weights([1, 2], options["beta"])


def test_there_is_one_remedy_at_a_time() -> None:
    counts = [100, 10]
    for remedy in ("none", "weights", "sampler"):
        config = BalanceConfig(remedy)
        assert (config.region_weights(counts) is not None) is (remedy == "weights")
        assert (config.drawn(counts) is not None) is (remedy == "sampler")
