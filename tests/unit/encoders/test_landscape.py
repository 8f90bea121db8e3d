"""The landscape encoder: one vector a patch whatever it is encoded with, what is flagged, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.encoders.landscape import (
    BATCH,
    HOMOGENEOUS,
    RESIDUAL_SPREAD,
    LandscapeEncoder,
    landscape_card,
    set_feature_statistics,
)
from placevec.encoders.model import load_encoder
from placevec.errors import DataError, SchemaError, UsageError
from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig
from placevec.sources.classes import ClassTable, class_table
from placevec.testing import check_encoder

PIXELS = 10
TABLE = ClassTable("five", (10, 20, 30, 40, 50), ("water", "trees", "grass", "crops", "bare"), ("#000000",) * 5)
CONFIG = LandscapeConfig(
    (PlaneConfig("cover", 5), PlaneConfig("height", 0, 500.0, 100.0), PlaneConfig("soil", 3)),
    pixels=PIXELS, dims=6, stem=3, widths=(4, 5), hidden=7,
)  # fmt: skip


def patches(n: int = 9, seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    height = rng.normal(500, 100, (n, PIXELS, PIXELS)).astype(np.float32)
    height[0] = np.nan  # nothing is known of the first
    cover = rng.integers(0, 6, (n, PIXELS, PIXELS)).astype(np.uint8)
    soil = rng.integers(0, 4, (n, PIXELS, PIXELS)).astype(np.uint8)
    return {"cover": cover, "height": height, "soil": soil}


@pytest.fixture(scope="module")
def encoder() -> LandscapeEncoder:
    made = LandscapeEncoder.untrained(CONFIG, 3, patches(40, 1))
    assert made.net.perceptron is not None
    torch.nn.init.normal_(made.net.perceptron[-1].weight, generator=torch.Generator().manual_seed(0))
    recipe = {"classes": {"cover": TABLE.to_json()}, "ground_m": 1000.0}
    return LandscapeEncoder(made.config, made.net, replace(made.card, recipe=recipe))


def test_it_keeps_the_contract(encoder: LandscapeEncoder) -> None:
    check_encoder(encoder, patches())
    assert encoder.inputs == ("cover", "height", "soil")
    assert not encoder.card.normalized
    assert encoder.space.metric == "cosine"


def test_one_vector_alone_and_among_more_than_a_batch(encoder: LandscapeEncoder) -> None:
    many = patches(BATCH + 5, 4)
    vectors = encoder.encode(many)
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths.min() > 0
    assert lengths.max() > 1.05 * lengths.min()  # their length counts in a probe
    largest = np.abs(vectors).max()
    for at in (0, BATCH - 1, BATCH, BATCH + 4):
        alone = encoder.encode({name: values[at : at + 1] for name, values in many.items()})
        # Sums round by their place in a batch.
        np.testing.assert_allclose(alone[0], vectors[at], atol=1e-6 * largest)


def test_it_comes_back_from_its_folder(encoder: LandscapeEncoder, tmp_path: Path) -> None:
    written = encoder.save(tmp_path / "m")
    again = load_encoder(tmp_path / "m")
    assert isinstance(again, LandscapeEncoder)
    assert again.config == CONFIG
    assert again.card == written.card
    assert again.class_tables() == {"cover": TABLE}
    np.testing.assert_array_equal(again.encode(patches()), encoder.encode(patches()))
    assert {path.suffix for path in (tmp_path / "m").iterdir()} <= {".json", ".safetensors", ".md"}


def test_a_seed_is_all_that_random_weights_depend_on() -> None:
    torch.rand(7)
    state = torch.get_rng_state()
    one, same, other = (LandscapeEncoder.untrained(CONFIG, seed, patches(20)) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(one.encode(patches()), same.encode(patches()))
    assert not np.allclose(one.encode(patches()), other.encode(patches()))
    assert one.space.id != same.space.id  # vectors of two untrained ones are never compared unnoticed


@pytest.mark.parametrize("types", [(np.uint8, np.float32), (np.int16, np.float64), (np.int64, np.float16)])
def test_layers_of_any_type_are_the_same_patches(encoder: LandscapeEncoder, types: tuple[Any, Any]) -> None:
    whole = patches()
    whole["height"] = np.round(whole["height"])  # which half precision holds
    given_ = {"cover": whole["cover"].astype(types[0]), "soil": whole["soil"].astype(types[0]),
              "height": whole["height"].astype(types[1])}  # fmt: skip
    np.testing.assert_array_equal(encoder.encode(given_), encoder.encode(whole))


def test_whole_numbers_are_values_too(encoder: LandscapeEncoder) -> None:
    whole = patches()
    whole["height"] = np.full_like(whole["height"], 431.0)
    heights = whole | {"height": whole["height"].astype(np.int16)}
    np.testing.assert_array_equal(encoder.encode(heights), encoder.encode(whole))


def test_nothing_at_all_is_a_vector_too(encoder: LandscapeEncoder) -> None:
    none = {"cover": np.zeros((3, PIXELS, PIXELS), np.uint8), "soil": np.zeros((3, PIXELS, PIXELS), np.uint8),
            "height": np.full((3, PIXELS, PIXELS), np.nan, np.float32)}  # fmt: skip
    vectors = encoder.encode(none)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1).min() > 0.01  # what is compared by cosine needs a direction
    np.testing.assert_allclose(vectors, vectors[[0] * 3], atol=1e-6)


@given(st.integers(0, 10**6), st.floats(0.0, 1.0), st.integers(0, 5))
def test_flags_are_what_counting_gives(encoder: LandscapeEncoder, seed: int, share: float, main: int) -> None:
    rng = np.random.default_rng(seed)
    cover = np.where(rng.random((4, PIXELS, PIXELS)) < share, main, rng.integers(0, 6, (4, PIXELS, PIXELS)))
    found = encoder.flags({**patches(4), "cover": cover.astype(np.uint8)})
    assert set(found) == set(encoder.flag_columns)
    for i, one in enumerate(cover.reshape(4, -1).tolist()):
        counts = [one.count(c) for c in range(1, 6)]
        most = max(counts)
        name = TABLE.names[counts.index(most)] if most else ""
        assert found["main_class"][i].as_py() == name
        assert found["main_share"][i].as_py() == pytest.approx(most / PIXELS**2)
        assert found["homogeneous"][i].as_py() == (most > HOMOGENEOUS * PIXELS**2)


@pytest.mark.parametrize(("pixels", "flagged"), [(95, False), (96, True), (100, True)])
def test_more_than_95_percent_are_embedded_and_flagged(encoder: LandscapeEncoder, pixels: int, flagged: bool) -> None:
    cover = np.full(PIXELS**2, 2, dtype=np.uint8)
    cover[pixels:] = 1
    batch = {**patches(1, 7), "cover": cover.reshape(1, PIXELS, PIXELS)}
    assert encoder.flags(batch)["homogeneous"].to_pylist() == [flagged]
    vectors = encoder.encode(batch)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors[0]) > 0.01


def test_a_patch_that_is_half_empty_is_not_homogeneous(encoder: LandscapeEncoder) -> None:
    cover = np.zeros((2, PIXELS, PIXELS), dtype=np.uint8)
    cover[0, :5] = 3
    found = encoder.flags({"cover": cover})
    assert {name: values.to_pylist() for name, values in found.items()} == {
        "homogeneous": [False, False], "main_class": ["grass", ""], "main_share": [0.5, 0.0]
    }  # fmt: skip


def test_flags_of_no_patch(encoder: LandscapeEncoder) -> None:
    found = encoder.flags({name: values[:0] for name, values in patches().items()})
    assert {name: (len(values), values.type) for name, values in found.items()} == {
        name: (0, kind) for name, kind in encoder.flag_columns.items()
    }


def test_flags_are_of_the_first_layer_of_classes() -> None:
    layers = (PlaneConfig("height"), PlaneConfig("soil", 3), PlaneConfig("cover", 5))
    made = LandscapeEncoder.untrained(replace(CONFIG, layers=layers))
    batch = patches(2)
    batch["soil"][:], batch["cover"][:] = 3, 1
    assert made.flags(batch)["main_class"].to_pylist() == ["class 3"] * 2  # without a table: by number
    alone = LandscapeEncoder.untrained(replace(CONFIG, layers=(PlaneConfig("height"),)))
    assert alone.flags(batch) == {} == alone.flag_columns


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"cover": None}, UsageError, "reads 'cover', and the source gives height, soil"),
    ({"height": np.zeros((9, PIXELS, PIXELS + 1), np.float32)}, SchemaError, r"shape \(10, 11\).*10 x 10 pixels"),
    ({"cover": np.zeros((9, 1, PIXELS, PIXELS), np.uint8)}, SchemaError, "the encoder reads 10 x 10"),
    ({"height": np.zeros((8, PIXELS, PIXELS), np.float32)}, SchemaError, "'height' has 8 patches, the others have 9"),
    ({"cover": np.zeros((9, PIXELS, PIXELS), np.float32)}, SchemaError, "holds float32; classes are whole numbers"),
    ({"cover": np.zeros((9, PIXELS, PIXELS), bool)}, SchemaError, "holds bool"),
    ({"height": np.zeros((9, PIXELS, PIXELS), "U3")}, SchemaError, "holds <U3; values are numbers"),
    (
        {"cover": np.full((9, PIXELS, PIXELS), 6, np.uint8)},
        DataError,
        "'cover' holds class 6, the encoder knows 1 to 5",
    ),
    ({"cover": np.full((9, PIXELS, PIXELS), -1, np.int16)}, DataError, "'cover' holds class -1"),
    ({"soil": np.full((9, PIXELS, PIXELS), 257, np.int32)}, DataError, "'soil' holds class 257"),
]


@pytest.mark.parametrize(("change", "error", "said"), WRONG)
def test_patches_that_are_refused(
    encoder: LandscapeEncoder, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    batch = {name: values for name, values in {**patches(), **change}.items() if values is not None}
    with pytest.raises(error, match=said):
        encoder.encode(batch)


def test_flags_refuse_what_encode_refuses(encoder: LandscapeEncoder) -> None:
    with pytest.raises(DataError, match="holds class 6"):
        encoder.flags({"cover": np.full((2, PIXELS, PIXELS), 6, np.uint8)})


def source_of(**changes: Any) -> SimpleNamespace:
    soils = ClassTable("soils", (1, 2, 3), ("clay", "loam", "sand"), ("#000000",) * 3)
    layers = {"cover": TABLE, "height": None, "soil": soils, **changes.pop("layers", {})}
    made = tuple(SimpleNamespace(name=name, classes=table) for name, table in layers.items() if table != "none")
    return SimpleNamespace(**{"layers": made, "pixels": PIXELS, "ground_m": 1000.0, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pixels": 12}, "1000 m and 10 pixels a side, not of 1000 m and 12: give --ground 1000m --pixels 10"),
        ({"ground_m": 1001.0}, "not of 1001 m"),
        ({"layers": {"height": "none"}}, "reads the layer 'height'; the patches have cover, soil"),
        ({"layers": {"cover": None}}, "'cover' was classes in training, and is values here"),
        ({"layers": {"height": TABLE}}, "'height' was values in training, and is classes here"),
        ({"layers": {"cover": class_table("nlcd")}}, "'cover' has the classes of nlcd, .* with those of five"),
    ],
)
def test_other_patches_than_those_of_training(encoder: LandscapeEncoder, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        encoder.check_patches(source_of(**changes))


def test_further_layers_and_another_order_are_no_matter(encoder: LandscapeEncoder) -> None:
    found = source_of()
    found.layers = (SimpleNamespace(name="slope", classes=None), *reversed(found.layers))
    encoder.check_patches(found)


def test_an_encoder_that_does_not_tell_its_ground_takes_any() -> None:
    made = LandscapeEncoder.untrained(CONFIG)
    made.check_patches(source_of(ground_m=123.0))
    with pytest.raises(SchemaError, match="reads patches of 10 pixels a side, .* give --pixels 10"):
        made.check_patches(source_of(pixels=12))


def test_scales_are_those_of_the_patches() -> None:
    net = LandscapeNet(CONFIG).eval()
    found = set_feature_statistics(net, patches(30))
    torch.testing.assert_close(net.mean, found.mean(dim=0))
    spread = found.std(dim=0, correction=0) + 0.02
    assert net.statistics is not None
    count = net.statistics.count
    torch.testing.assert_close(net.spread[:count], spread[:count])
    torch.testing.assert_close(net.spread[count:], RESIDUAL_SPREAD * spread[count:])
    assert (net.spread >= 0.02).all()
    assert not any(module.training for module in net.modules())


def test_without_statistics_the_residual_part_has_its_full_weight() -> None:
    net = LandscapeNet(replace(CONFIG, statistics=False)).eval()
    found = set_feature_statistics(net, patches(30))
    torch.testing.assert_close(net.spread, found.std(dim=0, correction=0) + 0.02)


@settings(max_examples=5)
@given(st.integers(2, 40))
def test_running_averages_are_those_of_the_patches_in_whatever_batches(n: int) -> None:
    """Batch normalisation begins as it will be used: of one batch, its own statistics."""
    net = LandscapeNet(CONFIG).eval()
    set_feature_statistics(net, patches(n))
    assert net.residual is not None
    stem, norm = net.residual.stem[0], net.residual.stem[1]
    tensors = {name: torch.from_numpy(values) for name, values in patches(n).items()}
    with torch.no_grad():
        inner = stem(torch.nn.functional.pad(net.planes(tensors), (1, 1, 1, 1)))
    torch.testing.assert_close(norm.running_mean, inner.mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert norm.momentum == 0.1


def test_a_card_says_what_it_reads() -> None:
    made = LandscapeEncoder.untrained(CONFIG)
    card = landscape_card(CONFIG, made.space, name="x")
    assert (card.kind, card.tower, card.inputs, card.name) == (
        "landscape",
        "landscape",
        ("cover", "height", "soil"),
        "x",
    )
