"""Images made square: against an average computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError, UsageError
from placevec.sources.images import resized


def noise(bands: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (bands, height, width)).astype(np.uint8)


def triangle(size: int, goal: int, first: float = 0.0, length: float | None = None) -> np.ndarray:
    """Weights (goal, size) of an antialiased bilinear resizing of a stretch of pixels."""
    scale = (size if length is None else length) / goal
    reach = max(scale, 1.0)
    at = first + (np.arange(goal)[:, None] + 0.5) * scale - (np.arange(size)[None] + 0.5)
    weights = np.clip(1.0 - np.abs(at) / reach, 0.0, None)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize(("height", "width", "pixels"), [(40, 60, 16), (33, 20, 20), (9, 7, 24)])
def test_squash_is_an_average_of_what_falls_together(bands: int, height: int, width: int, pixels: int) -> None:
    image = noise(bands, height, width)
    expected = triangle(height, pixels) @ image.astype(float) @ triangle(width, pixels).T
    found = resized(image, pixels)
    assert found.shape == (bands, pixels, pixels)
    assert np.abs(found - expected).max() <= 1.5  # two roundings


def test_crop_is_the_middle_and_keeps_the_shape() -> None:
    image = noise(3, 30, 50)
    # As if the whole were made small first: what lies beside the crop counts at its rim.
    expected = triangle(30, 12) @ image.astype(float) @ triangle(50, 12, 10, 30).T
    assert np.abs(resized(image, 12, "crop") - expected).max() <= 1.5
    np.testing.assert_array_equal(resized(image, 30, "crop"), image[:, :, 10:40])


@given(
    st.integers(1, 5), st.integers(1, 30), st.integers(1, 30), st.integers(1, 24), st.sampled_from(["squash", "crop"])
)
def test_one_colour_stays_one_colour(bands: int, height: int, width: int, pixels: int, fit: str) -> None:
    values = np.arange(bands, dtype=np.uint8) * 50 + 3
    image = np.broadcast_to(values[:, None, None], (bands, height, width)).copy()
    found = resized(image, pixels, fit)
    assert found.dtype == np.uint8
    assert (found == values[:, None, None]).all()
    assert found.shape == (bands, pixels, pixels)


def test_an_image_of_the_size_asked_for_is_left_alone() -> None:
    image = noise(3, 20, 20)
    assert resized(image, 20) is image


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="fit is 'pad'"):
        resized(noise(3, 5, 5), 4, "pad")
    with pytest.raises(UsageError, match="0 pixels wide"):
        resized(noise(3, 5, 5), 0)
    with pytest.raises(DataError, match="float64"):
        resized(np.zeros((3, 5, 5)), 4)
    with pytest.raises(DataError, match=r"\(5, 5\)"):
        resized(np.zeros((5, 5), dtype=np.uint8), 4)
