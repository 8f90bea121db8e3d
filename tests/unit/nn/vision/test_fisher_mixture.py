"""The mixture of Gaussians: what it learns, and its Fisher vectors against the formulas of the paper in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from placevec.nn.vision.fisher import mixture as module
from placevec.nn.vision.fisher.mixture import Assignment, Mixture


def some(inputs: int = 7, dims: int = 4, components: int = 3, seed: int = 0) -> Mixture:
    rng = np.random.default_rng(seed)
    made = Mixture(inputs, dims, components)
    basis = np.linalg.qr(rng.normal(size=(inputs, inputs)))[0][:, :dims]
    weights = rng.dirichlet(np.ones(components) * 4)
    for name, value in (
        ("mean", rng.normal(size=inputs)),
        ("basis", basis),
        ("weights", weights),
        ("means", rng.normal(size=(components, dims))),
        ("variances", rng.uniform(0.3, 2.0, (components, dims))),
    ):
        getattr(made, name).copy_(torch.from_numpy(value))
    return made


def slow_fisher(mixture: Mixture, descriptors: np.ndarray) -> np.ndarray:
    """Sánchez et al. 2013, equations 17 and 18 (16, the weights, is left out), descriptor by descriptor."""
    mean, basis, weights, means, variances = (
        getattr(mixture, name).double().numpy() for name in ("mean", "basis", "weights", "means", "variances")
    )
    k, d = means.shape
    first, second = np.zeros((k, d)), np.zeros((k, d))
    for descriptor in descriptors.astype(np.float64):
        x = (descriptor - mean) @ basis
        density = [
            w * np.prod(np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v))
            for w, m, v in zip(weights, means, variances, strict=True)
        ]
        for j in range(k):
            gamma = density[j] / sum(density)
            z = (x - means[j]) / np.sqrt(variances[j])
            first[j] += gamma * z / np.sqrt(weights[j])
            second[j] += gamma * (z**2 - 1) / np.sqrt(2 * weights[j])
    both = np.concatenate([first.ravel(), second.ravel()]) / len(descriptors)
    rooted = np.sign(both) * np.sqrt(np.abs(both))
    return rooted / np.linalg.norm(rooted)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=30)
def test_fisher_vectors_against_the_formulas(components: int, dims: int, count: int, seed: int) -> None:
    mixture = some(6, dims, components, seed)
    rows = np.random.default_rng(seed + 1).normal(size=(2, count, 6)).astype(np.float32)
    found = mixture.fisher(mixture.statistics(torch.from_numpy(rows))).numpy()
    assert found.shape == (2, mixture.outputs)
    for own, descriptors in zip(found, rows, strict=True):
        # Before the root: that makes of a difference of 1e-8 one of 1e-4.
        expected = slow_fisher(mixture, descriptors)
        np.testing.assert_allclose(own * np.abs(own), expected * np.abs(expected), atol=2e-5)


def test_another_order_is_that_of_the_descriptors() -> None:
    mixture = some()
    rng = np.random.default_rng(4)
    rows = torch.from_numpy(rng.normal(size=(3, 20, 7)).astype(np.float32))
    order = torch.from_numpy(rng.permutation(7))
    torch.testing.assert_close(mixture.statistics(rows, order), mixture.statistics(rows[:, :, order]))


def test_statistics_do_not_depend_on_other_images_and_little_on_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = some()
    rows = torch.from_numpy(np.random.default_rng(5).normal(size=(4, 50, 7)).astype(np.float32))
    whole = mixture.statistics(rows)
    assert torch.equal(mixture.statistics(rows[2:3])[0], whole[2])
    monkeypatch.setattr(module, "_PART", 7)
    torch.testing.assert_close(mixture.statistics(rows), whole)
    shares, moments = Assignment(mixture)(rows[0])
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(50))
    torch.testing.assert_close(moments[:, 4:], moments[:, :4] ** 2)


def test_it_finds_the_clusters_of_a_toy_mixture() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[4.0, 0, 0, 0, 0], [0, 4.0, 0, 0, 0], [-4.0, -4.0, 0, 0, 0]])
    which = rng.choice(3, size=6000, p=[0.5, 0.3, 0.2])
    spread = np.array([0.5, 0.4, 0.1, 0.1, 0.1])
    rows = (centres[which] + rng.normal(size=(6000, 5)) * spread).astype(np.float32)
    mixture = Mixture(5, 2, 3)
    mixture.learn(rows, 3)
    order = mixture.weights.argsort(descending=True)
    np.testing.assert_allclose(mixture.weights[order], [0.5, 0.3, 0.2], atol=0.02)
    back = mixture.means[order] @ mixture.basis.T + mixture.mean
    np.testing.assert_allclose(back, centres, atol=0.06)
    # The axes lie in the plane of the centres, so that variances add up to those within it.
    np.testing.assert_allclose(mixture.variances.sum(dim=1), [0.41] * 3, atol=0.04)
    shares, _ = Assignment(mixture)(torch.from_numpy(centres.astype(np.float32)))
    assert shares[range(3), order].min() > 0.999
    again = Mixture(5, 2, 3)
    again.learn(rows, 3)
    assert all(torch.equal(a, b) for a, b in zip(mixture.buffers(), again.buffers(), strict=True))
    again.learn(rows, 4)
    assert not torch.equal(mixture.means, again.means)


@pytest.mark.parametrize("different", [1, 2])
def test_fewer_kinds_of_descriptors_than_components(different: int) -> None:
    rows = np.random.default_rng(1).normal(size=(different, 6)).astype(np.float32).repeat(100, axis=0)
    mixture = Mixture(6, 3, 5)
    mixture.learn(rows, 0)
    found = mixture.fisher(mixture.statistics(torch.from_numpy(rows)[None]))
    assert found.isfinite().all()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_seed_gives_the_same_mixture_with_several_threads(threads: int) -> None:
    rows = np.random.default_rng(0).normal(size=(4000, 24)).astype(np.float32)
    made = [Mixture(24, 16, 8) for _ in range(2)]
    with threadpool_limits(threads):
        for mixture in made:
            mixture.learn(rows, 1)
    assert all(torch.equal(a, b) for a, b in zip(made[0].buffers(), made[1].buffers(), strict=True))
