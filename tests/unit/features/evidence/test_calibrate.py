"""Calibrated heat maps: the formula against a slow loop, and what calibration is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.encoders.base import unit_rows
from placevec.errors import DataError
from placevec.features.evidence import Background, Field, dense_field, grid_field, heat_map


def random_field(rng: np.random.Generator, rows: int = 5, columns: int = 7, dims: int = 6) -> Field:
    return dense_field(rng.standard_normal((rows, columns, dims)).astype(np.float32), (rows * 8, columns * 8))


@given(st.integers(0, 10_000), st.booleans())
def test_the_formula_against_a_slow_loop(seed: int, with_images: bool) -> None:
    rng = np.random.default_rng(seed)
    field, query = random_field(rng), unit_rows(rng.standard_normal((1, 6)))[0]
    texts = unit_rows(rng.standard_normal((9, 6)))
    images = unit_rows(rng.standard_normal((30, 6))) if with_images else None
    heat = heat_map(field, query, Background(texts, images))
    vectors = field.vectors.astype(np.float64)

    def scaled(text: np.ndarray, vector: np.ndarray) -> float:
        value = float(vector @ text.astype(np.float64))
        if images is None:
            return value
        own = images.astype(np.float64) @ text.astype(np.float64)
        return float((value - own.mean()) / own.std())

    spreads = [np.var([scaled(text, vector) for text in texts]) for vector in vectors]
    sd = np.sqrt(np.mean(spreads))
    expected = [(scaled(query, v) - np.mean([scaled(text, v) for text in texts])) / sd for v in vectors]
    np.testing.assert_allclose(heat.values.ravel(), expected, atol=1e-4)
    # The mean over the positions is the image as one, also after calibration.
    np.testing.assert_allclose(heat.whole, np.mean(expected), atol=1e-4)


def test_what_raises_every_text_alike_goes_out() -> None:
    rng = np.random.default_rng(1)
    dense = rng.standard_normal((4, 4, 6)).astype(np.float32) * 0.1
    common = np.eye(6)[0] * 3
    texts, query = unit_rows(rng.standard_normal((40, 6)) + common), unit_rows((np.eye(6)[1] * 2 + common)[None])[0]
    # At (1, 2) the common part of all texts is strong, at (3, 0) the query's own.
    dense[1, 2] += 3 * texts.mean(axis=0)
    dense[3, 0] += 2 * (query - texts.mean(axis=0))
    field = dense_field(dense, (4, 4))
    plain, calibrated = heat_map(field, query, None), heat_map(field, query, Background(texts))
    assert np.unravel_index(plain.values.argmax(), (4, 4)) == (1, 2)
    assert np.unravel_index(calibrated.values.argmax(), (4, 4)) == (3, 0)


def test_a_shift_of_all_vectors_of_a_position_is_no_evidence_when_texts_are_alike() -> None:
    field = random_field(np.random.default_rng(2))
    same = np.tile(unit_rows(np.ones((1, 6))), (4, 1))
    heat = heat_map(field, same[0], Background(same))
    np.testing.assert_allclose(heat.values, 0, atol=1e-6)


def test_the_peak_is_in_pixels() -> None:
    vectors = np.zeros((2, 4, 3), np.float32)
    vectors[1, 3] = [1, 0, 0]
    heat = heat_map(dense_field(vectors, (20, 80)), np.array([1, 0, 0], np.float32), None)
    assert heat.peak == (70.0, 15.0)


def test_smoothing_keeps_the_mean_and_leaves_cells_alone() -> None:
    rng = np.random.default_rng(3)
    field, query = random_field(rng, 16, 16), rng.standard_normal(6).astype(np.float32)
    rough, smooth = heat_map(field, query, None), heat_map(field, query, None, smooth=0.1)
    assert smooth.values.std() < rough.values.std()
    image = rng.integers(0, 255, (3, 16, 16), dtype=np.uint8)
    cells = grid_field(lambda x: unit_rows(x.reshape(len(x), -1)[:, :6].astype(np.float32) + 1), image, 4)
    assert (heat_map(cells, query, None).values == heat_map(cells, query, None, smooth=0.5).values).all()


def test_a_background_of_one_query_is_refused() -> None:
    with pytest.raises(DataError, match="two or more"):
        Background(np.ones((1, 6), np.float32))
