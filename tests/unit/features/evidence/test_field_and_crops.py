"""Fields of vectors over an image: exact sums, windows that cover, the slow loop as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.encoders.base import unit_rows
from placevec.errors import DataError, UsageError
from placevec.features.evidence import Crops, Field, crop_field, dense_field, grid_field, slide_field
from placevec.features.evidence.crops import cut_cells, encode_windows, spread, windows

RNG = np.random.default_rng(0)
MIX = RNG.standard_normal((3, 8)).astype(np.float32)


def encode(images: np.ndarray) -> np.ndarray:
    """A black box that tells colours apart."""
    return unit_rows(images.astype(np.float32).mean(axis=(2, 3)) / 255 @ MIX + 0.01)


def queries(n: int) -> np.ndarray:
    return unit_rows(RNG.standard_normal((n, 8)).astype(np.float32))


def two_fields(side: int = 64) -> np.ndarray:
    """Red at the left, blue at the right."""
    image = np.zeros((3, side, side), dtype=np.uint8)
    image[0, :, : side // 2] = 220
    image[2, :, side // 2 :] = 220
    return image


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(0, 10_000))
def test_the_mean_of_the_scores_of_a_dense_field_is_the_cosine_of_the_image(h: int, w: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense, query = rng.standard_normal((h, w, d)).astype(np.float32), unit_rows(rng.standard_normal((3, d)))
    field = dense_field(dense, (h * 4, w * 4))
    vector = dense.reshape(-1, d).astype(np.float64).mean(axis=0)
    cosine = query @ (vector / np.linalg.norm(vector))
    np.testing.assert_allclose(field.scores(query).mean(axis=(1, 2)), cosine, atol=1e-4)
    np.testing.assert_allclose(field.score(query), cosine, atol=1e-5)


def test_pooling_gives_the_cosines_of_soft_crops() -> None:
    dense, query = RNG.standard_normal((9, 12, 8)).astype(np.float32), queries(2)
    field = dense_field(dense, (36, 48), pool=1 / 9)  # a deviation of one position
    row, column = 4, 7
    total = np.zeros(8)
    for y in range(9):
        for x in range(12):
            total += np.exp(-((y - row) ** 2 + (x - column) ** 2) / 2) * dense[y, x]
    np.testing.assert_allclose(field.scores(query)[:, row, column], query @ (total / np.linalg.norm(total)), atol=1e-5)
    plain = dense_field(dense, (36, 48))
    np.testing.assert_allclose(field.score(query), plain.score(query))
    wide = dense_field(dense, (36, 48), pool=50.0)
    assert np.abs(wide.scores(query) - plain.score(query)[:, None, None]).max() < 1e-3


def patches(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A transformer of 4 x 4 tokens that are the mean colours of its patches, and a vector of the whole."""
    n, bands, side, _ = images.shape
    mean = images.astype(np.float32).reshape(n, bands, 4, side // 4, 4, side // 4).mean(axis=(3, 5))
    dense = mean.transpose(0, 2, 3, 1) / 255 @ MIX + 0.01
    return dense, dense.mean(axis=(1, 2)) * 5


def test_tokens_of_one_window_are_directions_less_a_share_of_the_image() -> None:
    image, query = RNG.integers(0, 255, (3, 32, 32), dtype=np.uint8), queries(2)
    dense, whole = patches(image[None])
    field = slide_field(patches, image, whole[0], debias=0.3)
    assert field.shape == (4, 4)
    for row in range(4):
        for column in range(4):
            one = dense[0, row, column] / np.linalg.norm(dense[0, row, column]) - 0.3 * whole[0] / np.linalg.norm(whole)
            np.testing.assert_allclose(field.scores(query)[:, row, column], query @ one, atol=1e-5)


def test_tokens_of_overlapping_windows_agree_where_the_image_is_the_same() -> None:
    # Tokens do not look beyond themselves here, and windows lie on whole tokens: windows change nothing.
    image, query = RNG.integers(0, 255, (3, 64, 32), dtype=np.uint8), queries(2)
    _, whole = patches(image[None, :, :32])
    field = slide_field(patches, image, whole[0], debias=0.0)
    assert field.shape == (8, 4)
    parts = [slide_field(patches, image[:, top : top + 32], whole[0], debias=0.0) for top in (0, 32)]
    expected = np.concatenate([part.scores(query) for part in parts], axis=1)
    np.testing.assert_allclose(field.scores(query), expected, atol=1e-5)


@pytest.mark.parametrize("unit", [0, 16, 20, 31])
def test_weights_of_tokens_add_up_to_one_at_every_position(unit: int) -> None:
    image = RNG.integers(0, 255, (3, 32, 52), dtype=np.uint8)

    def tokens(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones((len(images), 3, 3, 8), np.float32), np.ones((len(images), 8), np.float32)

    field = slide_field(tokens, image, np.ones(8, np.float32), unit=unit, debias=0.25)
    query = unit_rows(np.ones((1, 8)))
    np.testing.assert_allclose(field.scores(query), 0.75, atol=1e-5)
    with pytest.raises(UsageError, match="debias"):
        slide_field(tokens, image, np.ones(8, np.float32), debias=2)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 100), st.floats(0, 0.9))
def test_windows_lie_inside_and_cover_every_pixel(height: int, width: int, side: int, overlap: float) -> None:
    found = windows(height, width, side, overlap)
    seen = np.zeros((height, width), dtype=int)
    for x, y, w, h in found.tolist():
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
        seen[y : y + h, x : x + w] += 1
    assert seen.min() >= 1
    assert len(np.unique(found[:, 2:], axis=0)) == 1


@given(st.integers(1, 8), st.integers(1, 8), st.integers(8, 50), st.integers(8, 50))
def test_cells_tile_the_image_once(rows: int, columns: int, height: int, width: int) -> None:
    seen = np.zeros((height, width), dtype=int)
    for x, y, w, h in cut_cells(height, width, rows, columns).tolist():
        seen[y : y + h, x : x + w] += 1
    assert (seen == 1).all()


def test_windows_are_encoded_as_a_plain_loop_does() -> None:
    image = RNG.integers(0, 255, (3, 40, 50), dtype=np.uint8)
    boxes = np.concatenate([windows(40, 50, 20, 0.5), windows(40, 50, 13, 0.2)])
    expected = [encode(image[None, :, y : y + h, x : x + w])[0] for x, y, w, h in boxes.tolist()]
    np.testing.assert_allclose(encode_windows(encode, image, boxes, batch=3), expected, atol=1e-6)


def test_scores_of_positions_are_weighted_means_of_the_windows_over_them() -> None:
    image = RNG.integers(0, 255, (3, 48, 64), dtype=np.uint8)
    crops, query = Crops(shares=(0.75, 0.4)), queries(2)
    field = crop_field(encode, image, crops)
    boxes = np.unique(np.concatenate([windows(48, 64, side, 0.5) for side in (36, 19)]), axis=0)
    scores = np.stack([encode(image[None, :, y : y + h, x : x + w])[0] @ query.T for x, y, w, h in boxes.tolist()])
    rows, columns = field.shape
    for row, column in ((0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)):
        at_y, at_x = (row + 0.5) * 48 / rows, (column + 0.5) * 64 / columns
        total, weights = np.zeros(2), 0.0
        for (x, y, w, h), score in zip(boxes.tolist(), scores, strict=True):
            if x <= at_x <= x + w and y <= at_y <= y + h:
                across = 0.02 + 0.98 * np.sin(np.pi * (at_x - x) / w) ** 2
                down = 0.02 + 0.98 * np.sin(np.pi * (at_y - y) / h) ** 2
                total, weights = total + across * down * score, weights + across * down
        np.testing.assert_allclose(field.scores(query)[:, row, column], total / weights, atol=1e-6)


@pytest.mark.parametrize("kind", ["crops", "grid"])
def test_colour_is_found_where_it_is(kind: str) -> None:
    image = two_fields()
    field = crop_field(encode, image) if kind == "crops" else grid_field(encode, image, 4)
    red, blue = (encode(np.full((1, 3, 8, 8), 0, dtype=np.uint8) + colour) for colour in (_RED, _BLUE))
    heat = field.scores(np.concatenate([red, blue]))
    half = field.shape[1] // 2
    assert heat[0, :, :half].mean() > heat[0, :, half:].mean() + 0.2
    assert heat[1, :, half:].mean() > heat[1, :, :half].mean() + 0.2


_RED = np.array([220, 0, 0], dtype=np.uint8)[None, :, None, None]
_BLUE = np.array([0, 0, 220], dtype=np.uint8)[None, :, None, None]


def test_a_grid_batched_is_the_grid_one_by_one() -> None:
    image, query = two_fields(50), queries(3)
    batched, single = (grid_field(encode, image, (3, 4), one_by_one=one) for one in (False, True))
    assert batched.shape == (3, 4)
    assert batched.cells
    np.testing.assert_allclose(batched.scores(query), single.scores(query), atol=1e-6)


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="shares"):
        Crops(shares=())
    with pytest.raises(UsageError, match="overlap"):
        Crops(overlap=1.0)
    with pytest.raises(UsageError, match="give fewer"):
        cut_cells(3, 3, 4, 4)
    with pytest.raises(UsageError, match="uncovered"):
        spread(np.array([[0, 0, 4, 4]]), (4, 4), (8, 8))
    with pytest.raises(DataError, match="one each"):
        Field(np.zeros((3, 8), np.float32), (2, 2), (4, 4), np.zeros(8, np.float32))
    with pytest.raises(DataError, match="not finite"):
        Field(np.full((4, 8), np.nan, np.float32), (2, 2), (4, 4), np.zeros(8, np.float32))
