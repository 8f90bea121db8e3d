import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.stats import special_ortho_group

from placevec.atlas.align import LEAST, align_basis
from placevec.atlas.colour import fit_basis
from placevec.errors import UsageError


def vectors(rows: int, dims: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, dims)) * (4.0 / np.arange(1, dims + 1)) + 3).astype(np.float32)


def apart(one, first, other, second) -> float:
    return np.abs(one.apply(first).astype(int) - other.apply(second).astype(int)).mean()


def standard(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean(axis=0)) / scores.std(axis=0)


@given(seed=st.integers(0, 1000), noise=st.floats(0, 2))
def test_a_turn_is_the_procrustes_solution_of_the_standard_scores(seed: int, noise: float) -> None:
    old = vectors(300, seed=seed)
    rng = np.random.default_rng(seed + 1)
    new = (old @ rng.normal(size=(12, 7)) + noise * rng.normal(size=(300, 7))).astype(np.float32)
    reference, fitted = fit_basis([old], ["old"]), fit_basis([new], ["new"])
    turned = align_basis(fitted, new, reference, reference.scores(old))
    wanted, _ = orthogonal_procrustes(standard(fitted.scores(new)), standard(reference.scores(old)))
    expected = standard(fitted.scores(new)) @ wanted
    assert np.allclose(standard(turned.scores(new)), standard(expected), atol=1e-6)
    assert np.isclose(turned.explained.sum(), fitted.explained.sum())
    assert turned.agreement is not None
    assert 0 <= turned.agreement.share <= turned.agreement.bound + 1e-9 <= 1 + 2e-9
    assert turned.agreement.places == 300


def test_another_model_of_the_same_three_directions_gets_the_old_colours_back() -> None:
    old = vectors(2000)
    reference = fit_basis([old], ["old"])
    turn = special_ortho_group.rvs(3, random_state=4) * [1, -1, 1]
    new = (standard(reference.scores(old)) @ turn * [7.0, 3.0, 1.0] @ np.eye(3, 9) + 2).astype(np.float32)
    fitted = fit_basis([new], ["new"])
    turned = align_basis(fitted, new, reference, reference.scores(old))
    assert apart(turned, new, reference, old) < 1 < apart(fitted, new, reference, old)
    assert turned.agreement is not None
    assert turned.agreement.share > 0.999


def test_unrelated_models_agree_in_nothing_and_say_so() -> None:
    old, new = vectors(3000), vectors(3000, seed=8)
    reference, fitted = fit_basis([old], ["old"]), fit_basis([new], ["new"])
    turned = align_basis(fitted, new, reference, reference.scores(old))
    assert turned.agreement is not None
    assert turned.agreement.share < 0.01
    assert turned.agreement.bound < 0.01


def test_matching_brings_back_the_colours_of_a_model_with_its_axes_mixed_up() -> None:
    old = vectors(2000)
    basis = fit_basis([old], ["old"])
    flipped = basis.components[[2, 0, 1]] * [[-1], [1], [-1]]
    new = ((old - basis.mean) @ flipped.T * [9.0, 3.0, 1.0] @ np.eye(3, 7)).astype(np.float32)
    fitted = fit_basis([new], ["new"])
    aligned = align_basis(fitted, new, basis, basis.scores(old), method="match")
    assert np.array_equal(np.sort(aligned.explained), np.sort(fitted.explained))
    assert np.abs(aligned.apply(new).astype(int) - basis.apply(old).astype(int)).max() <= 1


@pytest.mark.parametrize("dims", [1, 2])
def test_fewer_than_three_directions_turn_too(dims: int) -> None:
    old, new = vectors(200), vectors(200)[:, :dims]
    reference, fitted = fit_basis([old], ["old"]), fit_basis([new], ["new"])
    turned = align_basis(fitted, new, reference, reference.scores(old))
    assert np.isfinite(turned.scores(new)).all()
    assert np.isclose(turned.explained.sum(), 1)
    back = align_basis(reference, old, fitted, fitted.scores(new))
    assert np.isfinite(back.scores(old)).all()
    assert turned.apply(new).shape == back.apply(old).shape == (200, 3)


def test_aligning_needs_enough_of_the_same_places() -> None:
    basis = fit_basis([vectors(90)], ["s"])
    scores = basis.scores(vectors(90))
    with pytest.raises(UsageError, match=f"at least {LEAST} places"):
        align_basis(basis, vectors(90), basis, scores[:80])
    with pytest.raises(UsageError, match="got 49"):
        align_basis(basis, vectors(90)[:49], basis, scores[:49])
