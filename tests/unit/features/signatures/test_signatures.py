from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.errors import DataError, SchemaError, UsageError
from placevec.features.signatures import CooccurrenceEncoder, FractionsEncoder, SignatureLayer, layers_of
from placevec.geo.sphere import LonLat
from placevec.sources.base import ArraySource
from placevec.table import Places
from placevec.tasks.encoders import build_encoder, encoder_spec, is_signature, signature_options
from placevec.testing import check_encoder

COVER = SignatureLayer("cover", ("water", "trees", "grass"))
HEIGHT = SignatureLayer("elevation", ("low", "middle", "high"), (100.0, 500.0))


def patches(n: int = 7, pixels: int = 6, classes: int = 3, seed: int = 0, least: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(least, classes + 1, (n, pixels, pixels)).astype(np.uint8)


def heights(n: int = 7, pixels: int = 6, seed: int = 1) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).uniform(0, 900, (n, pixels, pixels)).astype(np.float32)
    values[:, 0, :2] = np.nan
    return values


def slow_fractions(patch: NDArray[np.uint8], classes: int) -> list[float]:
    counted = [sum(int(v) == c for v in patch.ravel()) for c in range(1, classes + 1)]
    total = sum(counted)
    return [c / total for c in counted] + [0.0] if total else [0.0] * classes + [1.0]


def slow_pairs(patch: NDArray[np.uint8], classes: int, neighbours: int) -> list[float]:
    steps = [(0, 1), (1, 0)] if neighbours == 4 else [(0, 1), (1, 0), (1, 1), (1, -1)]
    counted = {(a, b): 0 for a in range(1, classes + 1) for b in range(a, classes + 1)}
    rows, columns = patch.shape
    for r in range(rows):
        for c in range(columns):
            for dr, dc in steps:
                if 0 <= r + dr < rows and 0 <= c + dc < columns:
                    a, b = sorted((int(patch[r, c]), int(patch[r + dr, c + dc])))
                    if a:
                        counted[a, b] += 1
    total = sum(counted.values())
    return [v / total for v in counted.values()] + [0.0] if total else [0.0] * len(counted) + [1.0]


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(2, 7), st.integers(1, 6), st.sampled_from([4, 8]), st.integers(0, 99))
def test_counts_are_those_of_an_obvious_loop(classes: int, rows: int, n: int, neighbours: int, seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, classes + 1, (n, rows, rows + 1)).astype(np.uint8)
    layer = SignatureLayer("cover", tuple(f"c{i}" for i in range(classes)))
    found = FractionsEncoder([layer]).probabilities({"cover": data})
    np.testing.assert_allclose(found, [slow_fractions(one, classes) for one in data], atol=1e-12)
    found = CooccurrenceEncoder([layer], neighbours).probabilities({"cover": data})
    np.testing.assert_allclose(found, [slow_pairs(one, classes, neighbours) for one in data], atol=1e-12)


def test_the_names_say_what_the_components_are() -> None:
    assert FractionsEncoder([COVER]).names == ("water", "trees", "grass", "nothing")
    pairs = CooccurrenceEncoder([COVER]).names
    assert pairs[:6] == ("water|water", "water|trees", "water|grass", "trees|trees", "trees|grass", "grass|grass")
    assert pairs[6:] == ("nothing",)
    half = np.array([[[1, 1], [2, 2]]], dtype=np.uint8)
    named = dict(zip(pairs, CooccurrenceEncoder([COVER]).probabilities({"cover": half})[0], strict=True))
    assert {name: share for name, share in named.items() if share} == {
        "water|water": 0.25,
        "trees|trees": 0.25,
        "water|trees": 0.5,
    }


def test_a_signature_does_not_change_when_the_patch_is_turned_or_mirrored() -> None:
    data = patches(20)
    for neighbours in (4, 8):
        encoder = CooccurrenceEncoder([COVER], neighbours)
        whole = encoder.encode({"cover": data})
        for other in (data[:, ::-1], data[:, :, ::-1], data.transpose(0, 2, 1)):
            np.testing.assert_allclose(encoder.encode({"cover": other}), whole, atol=1e-7)


def test_many_patches_are_counted_as_one_by_one() -> None:
    data = patches(400, 32, 3)
    encoder = CooccurrenceEncoder([COVER])
    whole = encoder.encode({"cover": data})
    for row in (0, 63, 64, 399):
        np.testing.assert_array_equal(whole[row], encoder.encode({"cover": data[row : row + 1]})[0])


@pytest.mark.parametrize(
    "encoder",
    [
        FractionsEncoder([COVER]),
        FractionsEncoder([COVER, HEIGHT]),
        CooccurrenceEncoder([COVER]),
        CooccurrenceEncoder([COVER], 8),
        CooccurrenceEncoder([COVER, HEIGHT]),
        CooccurrenceEncoder([COVER, HEIGHT], between=False),
    ],
)
def test_they_keep_the_contract_of_an_encoder(encoder: Any) -> None:
    data = {"cover": patches(), "elevation": heights()}
    data["cover"][0] = 0
    data["elevation"][0] = np.nan
    check_encoder(encoder, data)
    assert len(encoder.names) == encoder.dims
    assert len(set(encoder.names)) == encoder.dims


def test_a_patch_of_nothing_and_one_of_a_single_class_have_vectors_too() -> None:
    data = np.zeros((2, 4, 4), dtype=np.uint8)
    data[1] = 2
    for encoder in (FractionsEncoder([COVER]), CooccurrenceEncoder([COVER])):
        vectors = encoder.encode({"cover": data})
        assert vectors[0].tolist() == [0.0] * (encoder.dims - 1) + [1.0]
        assert vectors[1].max() == 1.0
        assert vectors[0] @ vectors[1] == 0.0


def test_layers_have_equal_weight_and_one_without_content_leaves_its_to_the_others() -> None:
    encoder = CooccurrenceEncoder([COVER, HEIGHT])
    assert encoder.dims == 6 + 6 + 9 + 1
    assert "cover:water|trees" in encoder.names
    assert "cover:water&elevation:high" in encoder.names
    cover, height = patches(3, least=1), heights(3)
    found = encoder.probabilities({"cover": cover, "elevation": height})
    for part in (slice(0, 6), slice(6, 12), slice(12, 21)):
        np.testing.assert_allclose(found[:, part].sum(axis=1), 1 / 3)
    meet = (cover[0] == 1) & (height[0] >= 500)
    share = meet.sum() / np.isfinite(height[0]).sum() / 3
    assert found[0, encoder.names.index("cover:water&elevation:high")] == pytest.approx(share)
    found = encoder.probabilities({"cover": cover, "elevation": np.full_like(height, np.nan)})
    np.testing.assert_allclose(found[:, :6].sum(axis=1), 1)


def test_bins_are_global_quantiles() -> None:
    values = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    layer = SignatureLayer.bins("elevation", values, 4)
    assert layer.classes == ("<249.75", "249.75..499.5", "499.5..749.25", ">=749.25")
    counted = np.bincount(layer.indices(values).ravel(), minlength=5)
    assert counted.tolist() == [0, 250, 250, 250, 250]
    assert layer.indices(np.array([[[np.nan, -1e9, 1e9, np.inf]]])).tolist() == [[[0, 1, 4, 0]]]
    assert SignatureLayer.from_json(json.loads(json.dumps(layer.to_json()))) == layer
    assert SignatureLayer.bins("flat", np.full(9, 3.0)).classes == ("all",)
    near = SignatureLayer.bins("near", 1e6 + np.arange(8) * 1e-3, 4)
    assert len(set(near.classes)) == len(near.classes) == 4
    with pytest.raises(DataError, match="holds no value"):
        SignatureLayer.bins("elevation", np.full((2, 2), np.nan))


def test_equal_tables_of_classes_give_one_space_and_others_another() -> None:
    same = CooccurrenceEncoder([SignatureLayer("cover", COVER.classes)])
    assert CooccurrenceEncoder([COVER]).space == same.space
    assert CooccurrenceEncoder([COVER], 8).space != same.space
    other = CooccurrenceEncoder([SignatureLayer("cover", ("water", "trees", "bare"))])
    assert other.space != same.space
    assert FractionsEncoder([COVER]).space.metric == "cosine"


def test_bad_patches_are_named() -> None:
    encoder = CooccurrenceEncoder([COVER, HEIGHT])
    with pytest.raises(SchemaError, match="holds class 9"):
        FractionsEncoder([COVER]).encode({"cover": np.full((1, 2, 2), 9, dtype=np.uint8)})
    with pytest.raises(SchemaError, match="holds class -1"):
        FractionsEncoder([COVER]).encode({"cover": np.full((1, 2, 2), -1)})
    with pytest.raises(SchemaError, match="whole numbers"):
        FractionsEncoder([COVER]).encode({"cover": np.zeros((1, 2, 2))})
    with pytest.raises(SchemaError, match="patches are"):
        FractionsEncoder([COVER]).encode({"cover": np.zeros((1, 2), dtype=np.uint8)})
    with pytest.raises(SchemaError, match="different shapes"):
        encoder.encode({"cover": patches(2, 4), "elevation": heights(2, 6)})
    with pytest.raises(SchemaError, match="no adjacent ones"):
        CooccurrenceEncoder([COVER]).encode({"cover": np.ones((1, 1, 1), dtype=np.uint8)})


def test_bad_layers_are_named() -> None:
    for layers, words in (
        ([], "at least one layer"),
        ([COVER, COVER], "two layers"),
    ):
        with pytest.raises(UsageError, match=words):
            FractionsEncoder(layers)
    with pytest.raises(UsageError, match="neighbours"):
        CooccurrenceEncoder([COVER], 6)
    with pytest.raises(UsageError, match="two classes called 'a'"):
        SignatureLayer("cover", ("a", "a"))
    with pytest.raises(UsageError, match="0 classes"):
        SignatureLayer("cover", ())
    for edges in ((5.0, 1.0), (1.0,), (1.0, float("nan"))):
        with pytest.raises(UsageError, match="do not part"):
            SignatureLayer("elevation", ("a", "b", "c"), edges)
    with pytest.raises(UsageError, match="not a layer"):
        SignatureLayer.from_json({"name": "cover"})


class _Patches(ArraySource):
    """Patches in memory, with layers as `sources.patches` has them."""

    layers = (
        SimpleNamespace(name="cover", classes=SimpleNamespace(names=COVER.classes)),
        SimpleNamespace(name="elevation", classes=None),
    )


def source(n: int = 30) -> _Patches:
    places = Places.create([f"p{i}" for i in range(n)], LonLat(np.linspace(0, 1, n), np.zeros(n)))
    return _Patches(places, {"cover": patches(n), "elevation": heights(n)})


def test_the_layers_come_from_the_source() -> None:
    assert layers_of(source()) == (COVER,)
    cover, height = layers_of(source(), ("cover", "elevation"), bins=5)
    assert cover == COVER
    assert len(height.classes) == 5
    with pytest.raises(UsageError, match="no layer 'slope'; the patches have cover, elevation"):
        layers_of(source(), ("slope",))
    with pytest.raises(UsageError, match="has no layers"):
        layers_of(ArraySource(source().places(), {}))


def test_a_process_builds_them_from_words_and_json() -> None:
    assert is_signature("features:fractions")
    options = signature_options(source(), layers=("cover", "elevation"), neighbours=8)
    spec = encoder_spec("features:cooccurrence", signature=json.loads(json.dumps(options)))
    encoder = spec.build()
    assert encoder.neighbours == 8
    assert encoder.space == CooccurrenceEncoder(layers_of(source(), ("cover", "elevation")), 8).space
    assert encoder.encode(source().read(np.arange(30)).data).shape == (30, encoder.dims)
    assert build_encoder("features:fractions", signature=signature_options(source())).names[-1] == "nothing"
    with pytest.raises(UsageError, match="give it a patch set"):
        build_encoder("features:fractions")
    with pytest.raises(UsageError, match="no option 'neighbours'"):
        build_encoder("features:fractions", signature=options)
