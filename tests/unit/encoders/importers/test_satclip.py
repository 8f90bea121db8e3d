"""SatCLIP's checkpoints: written here in the peer's layouts, their functions evaluated from the formulas in float64."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import lpmv

from placevec.encoders.importers import IMPORTERS, importer
from placevec.encoders.importers.bases import BASES, grid_columns, harmonic_factors
from placevec.encoders.importers.satclip import read_satclip
from placevec.encoders.location import LocationEncoder
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError, UsageError
from placevec.nn.harmonics import spherical_harmonics
from placevec.nn.position import Space2VecGrid
from placevec.provenance import sha256_file

Floats = NDArray[np.float64]
State = dict[str, torch.Tensor]

LONLAT = np.random.default_rng(0).uniform((-180, -90), (180, 90), (60, 2))
LONLAT[:8] = [(0, 0), (180, 0), (-180, 10), (12, 90), (-70, -90), (179.999, 89.99), (-3.7, 40.4), (0, -89.99)]


# ---- the peer's functions, from its formulas, in float64


def peer_harmonics(lonlat: Floats, degrees: int, basis: str) -> Floats:
    """SatCLIP's columns, literally: φ = lon + 180°, θ = lat + 90°, P_l|m|(cos θ) with scipy's Condon-Shortley phase."""
    phi, theta = np.radians(lonlat[:, 0] + 180.0), np.radians(lonlat[:, 1] + 90.0)
    columns = []
    for degree in range(degrees):
        for m in range(-degree, degree + 1):
            k = abs(m)
            p = lpmv(k, degree, np.cos(theta))
            norm = math.sqrt((2 * degree + 1) / (4 * math.pi) * math.factorial(degree - k) / math.factorial(degree + k))
            if m == 0 and basis == "analytic":
                columns.append(math.sqrt((2 * degree + 1) / 4 * math.pi) * p)
                continue
            sign = 1 if basis == "closed-form" else (-1) ** k
            wave = np.ones_like(phi) if m == 0 else math.sqrt(2) * (np.cos(k * phi) if m > 0 else np.sin(k * phi))
            columns.append(sign * norm * p * wave)
    return np.stack(columns, axis=1)


def peer_grid(lonlat: Floats, frequencies: int, smallest: float, largest: float) -> Floats:
    """Space2Vec's grid as SatCLIP has it: lon at all scales, then lat, (sin, cos) of degrees / radius."""
    step = math.log(largest / smallest) / (frequencies - 1)
    radii = [smallest * math.exp(step * s) for s in range(frequencies)]
    return np.stack([f(lonlat[:, c] / r) for c in (0, 1) for r in radii for f in (np.sin, np.cos)], axis=1)


def peer_siren(x: Floats, network: State) -> Floats:
    hidden = sum(name.startswith("layers.") and name.endswith("bias") for name in network)
    for index in range(hidden):
        w, b = (network[f"layers.{index}.{part}"].numpy() for part in ("weight", "bias"))
        x = np.sin((30.0 if index == 0 else 1.0) * (x @ w.T + b))
    return x @ network["last_layer.weight"].numpy().T + network["last_layer.bias"].numpy()


def peer_fcnet(x: Floats, network: State) -> Floats:
    n = {name: value.numpy() for name, value in network.items()}
    x = np.maximum(x @ n["feats.0.weight"].T + n["feats.0.bias"], 0)
    for i in range(2, 6):
        y = np.maximum(x @ n[f"feats.{i}.w1.weight"].T + n[f"feats.{i}.w1.bias"], 0)
        x = x + np.maximum(y @ n[f"feats.{i}.w2.weight"].T + n[f"feats.{i}.w2.bias"], 0)
    return x @ n["class_emb.weight"].T


# ---- checkpoints in the peer's layout


def uniform(*shape: int, bound: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng([seed, *shape])
    return torch.from_numpy(rng.uniform(-bound, bound, shape))


def siren(inputs: int, capacity: int = 32, layers: int = 2, dims: int = 7) -> State:
    """Random weights with the bounds that SatCLIP begins with, times 2 as training makes them grow."""
    state, width = {}, inputs
    for index in range(layers):
        bound = 2.0 / width if index == 0 else 2.0 * math.sqrt(6 / width)
        state[f"layers.{index}.weight"] = uniform(capacity, width, bound=bound, seed=index)
        state[f"layers.{index}.bias"] = uniform(capacity, bound=bound, seed=index)
        width = capacity
    state["last_layer.weight"] = uniform(dims, width, bound=math.sqrt(6 / width))
    state["last_layer.bias"] = uniform(dims, bound=math.sqrt(6 / width))
    return state


def fcnet(inputs: int, width: int = 16, dims: int = 7) -> State:
    def linear(name: str, rows: int, columns: int, seed: int) -> State:
        bound = 1 / math.sqrt(columns)
        return {
            f"{name}.weight": uniform(rows, columns, bound=bound, seed=seed),
            f"{name}.bias": uniform(rows, bound=bound, seed=seed),
        }

    state = linear("feats.0", width, inputs, 0)
    for i in range(2, 6):
        state |= linear(f"feats.{i}.w1", width, width, i) | linear(f"feats.{i}.w2", width, width, 10 + i)
    return {**state, "class_emb.weight": uniform(dims, width, bound=0.3)}


def hyper(degrees: int = 6, **more: Any) -> dict[str, Any]:
    """The hyper-parameters that SatCLIP's Lightning module saves."""
    values = {
        "embed_dim": 7,
        "image_resolution": 256,
        "vision_layers": "moco_resnet18",
        "vision_width": 768,
        "vision_patch_size": 32,
        "in_channels": 13,
        "le_type": "sphericalharmonics",
        "pe_type": "siren",
        "frequency_num": 16,
        "max_radius": 260,
        "min_radius": 1,
        "legendre_polys": degrees,
        "harmonics_calculation": "analytic",
        "sh_embedding_dims": 32,
        "learning_rate": 1e-4,
        "weight_decay": 0.01,
        "num_hidden_layers": 2,
        "capacity": 32,
    }
    return {**values, **more}


def lightning(network: State, values: dict[str, Any] | None, **more: torch.Tensor) -> dict[str, Any]:
    """A Lightning checkpoint: the network held twice, an image tower, the temperature, and what Lightning keeps."""
    state = {f"model.location.nnet.{name}": value for name, value in network.items()}
    state |= {f"model.nnet.{name}": value for name, value in network.items()}
    state |= {
        "model.logit_scale": torch.tensor(2.5),
        "model.visual.conv1.weight": torch.zeros(2, 13, 3, 3),
        "model.visual.bn1.num_batches_tracked": torch.tensor(3),
        **more,
    }
    content: dict[str, Any] = {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": "2.0.0",
        "state_dict": state,
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.0), "dirpath": "x"}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]}],
        "hparams_name": "kwargs",
    }
    return content if values is None else {**content, "hyper_parameters": values}


def put(tmp_path: Path, content: Any, name: str = "satclip.ckpt") -> Path:
    torch.save(content, tmp_path / name)
    return tmp_path / name


def vectors(encoder: LocationEncoder) -> Floats:
    return encoder.encode({"lonlat": LONLAT}).astype(np.float64)


# ---- values


def test_the_oracle_has_the_numbers_of_the_published_polynomials() -> None:
    """The polynomials of the first three degrees, as SatCLIP's generated file has them."""
    phi, theta = np.radians(200.0), np.radians(120.0)  # of 20 E, 30 N
    x, s = np.cos(theta), np.sin(theta)
    expected = [
        0.886226925452758,
        0.48860251190292 * s * np.sin(phi),
        1.53499006191973 * x,
        0.48860251190292 * s * np.cos(phi),
        0.18209140509868 * (3 - 3 * x**2) * np.sin(2 * phi),
        1.09254843059208 * s * np.sin(phi) * x,
        2.97249547320451 * x**2 - 0.990831824401503,
        1.09254843059208 * s * np.cos(phi) * x,
        0.18209140509868 * (3 - 3 * x**2) * np.cos(2 * phi),
    ]
    found = peer_harmonics(np.array([[20.0, 30.0]]), 3, "analytic")[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("basis", BASES)
def test_columns_are_multiples_of_ours(basis: str) -> None:
    lon, lat = torch.from_numpy(LONLAT).T
    ours = spherical_harmonics(lon, lat, 40, torch.float64)
    found = (ours * harmonic_factors(basis, 40)).numpy()
    np.testing.assert_allclose(found, peer_harmonics(LONLAT, 40, basis), atol=1e-10)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("degrees", [1, 10, 40])
def test_values_of_harmonics(tmp_path: Path, degrees: int, basis: str) -> None:
    network = siren(degrees**2, capacity=64)
    said = "closed-form" if basis == "closed-form" else "analytic"
    path = put(tmp_path, lightning(network, hyper(degrees, capacity=64, harmonics_calculation=said)))
    given = basis if basis == "analytic-corrected" else None
    encoder = read_satclip([path], basis=given).encoder
    expected = peer_siren(peer_harmonics(LONLAT, degrees, basis), network)
    np.testing.assert_allclose(vectors(encoder), expected, atol=1e-4)
    assert np.abs(expected).max() > 0.5, "a test of zeros shows nothing"


@given(frequencies=st.integers(2, 20), smallest=st.floats(0.05, 2), ratio=st.floats(1.5, 300))
@settings(max_examples=20)
def test_columns_of_the_grid(frequencies: int, smallest: float, ratio: float) -> None:
    ours = Space2VecGrid(frequencies, smallest, smallest * ratio).build()(torch.from_numpy(LONLAT)).numpy()
    peer = peer_grid(LONLAT, frequencies, smallest, smallest * ratio)
    np.testing.assert_allclose(ours, peer[:, grid_columns(frequencies).numpy()], atol=2e-6)


@pytest.mark.parametrize("layers", [1, 4])
def test_values_of_the_grid(tmp_path: Path, layers: int) -> None:
    network = siren(40, layers=layers)
    values = hyper(le_type="grid", frequency_num=10, max_radius=10, min_radius=0.1, num_hidden_layers=layers)
    encoder = read_satclip([put(tmp_path, lightning(network, values))]).encoder
    np.testing.assert_allclose(vectors(encoder), peer_siren(peer_grid(LONLAT, 10, 0.1, 10), network), atol=1e-4)
    assert "basis" not in encoder.card.recipe


def test_values_of_fcnet(tmp_path: Path) -> None:
    network = fcnet(36)
    values = hyper(6, pe_type="fcnet", capacity=16, harmonics_calculation="closed-form")
    encoder = read_satclip([put(tmp_path, lightning(network, values))]).encoder
    expected = peer_fcnet(peer_harmonics(LONLAT, 6, "closed-form"), network)
    np.testing.assert_allclose(vectors(encoder), expected, atol=1e-5)


def test_regional_satclip_reads_its_settings_beside(tmp_path: Path) -> None:
    network = siren(40)
    state = {f"location.neural_network.{name}": value for name, value in network.items()}
    state |= {"logit_scale": torch.tensor(1.0), "image_mlp.0.weight": torch.zeros(2, 2), "visual.x": torch.zeros(1)}
    path = put(tmp_path, state, "best_vit.pth")
    with pytest.raises(CheckpointError, match=r"config\.json beside"):
        read_satclip([path])
    run = {"capacity": 32, "hidden_layers": 2, "min_radius": 0.1, "max_radius": 10, "dropout": 0.3}
    (tmp_path / "config.json").write_text(json.dumps({**run, "harmonics_calculation": "closed-form"}))
    encoder = read_satclip([path]).encoder
    np.testing.assert_allclose(vectors(encoder), peer_siren(peer_grid(LONLAT, 10, 0.1, 10), network), atol=1e-4)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        read_satclip([path])


# ---- what is said of it


def test_the_card_and_the_folder(tmp_path: Path) -> None:
    path = put(tmp_path, lightning(siren(25 * 25), hyper(25)))
    model = importer("satclip")([path])
    encoder = model.encoder.save(tmp_path / "model")
    digest = sha256_file(path)
    card = encoder.card
    assert card.space.id == f"published:satclip-moco_resnet18-l25-analytic@{digest[:16]}"
    assert card.space.origin == "published"
    assert (card.licence, card.sources[0].sha256, card.sources[0].href) == ("MIT", digest, "satclip.ckpt")
    assert card.parents == (digest,)
    assert card.recipe["basis"] == "analytic"
    assert card.recipe["logit_scale"] == 2.5
    assert card.recipe["hyper_parameters"]["legendre_polys"] == 25
    assert not card.normalized
    assert str(tmp_path) not in card.text(), "a path of this machine stands in the card"
    again = load_encoder(tmp_path / "model")
    np.testing.assert_array_equal(again.encode({"lonlat": LONLAT}), encoder.encode({"lonlat": LONLAT}))
    notes = " ".join(model.notes)
    assert "2 weights of the image tower" in notes
    assert "loses digits" in notes


def test_one_file_is_one_space(tmp_path: Path) -> None:
    path = put(tmp_path, lightning(siren(36), hyper()))
    (tmp_path / "copy.ckpt").write_bytes(path.read_bytes())
    spaces = [read_satclip([each]).encoder.space for each in (path, tmp_path / "copy.ckpt")]
    spaces[0].require(spaces[1])
    other = read_satclip([path], basis="analytic-corrected").encoder.space
    assert other.id != spaces[0].id, "another basis gives other vectors"


def test_whole_numbers_may_be_floats(tmp_path: Path) -> None:
    path = put(tmp_path, lightning(siren(36), hyper(legendre_polys=6.0)))
    assert read_satclip([path]).encoder.config.position.degrees == 6


# ---- faults


def refused(path: Path, *words: str, kind: type[Exception] = CheckpointError, **options: Any) -> None:
    with pytest.raises(kind) as caught:
        read_satclip([path], **options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


class Surprise:
    pass


def test_a_pickled_object_is_refused(tmp_path: Path) -> None:
    content = lightning(siren(36), hyper())
    content["callbacks"] = {"mine": Surprise()}
    refused(put(tmp_path, content), "pickled object", "Surprise", "not read")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95, 0.999])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = put(tmp_path, lightning(siren(36), hyper()))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "satclip.ckpt", "cannot be read")


def test_no_file_and_no_checkpoint(tmp_path: Path) -> None:
    refused(tmp_path / "absent.ckpt", "is no file")
    refused(tmp_path, "is no file")
    (tmp_path / "text.ckpt").write_text("hello, this is a web page\n" * 50)
    refused(tmp_path / "text.ckpt", "no file of torch", "b'he'")
    refused(put(tmp_path, [1, 2]), "holds a list")
    refused(put(tmp_path, {}), "holds nothing")
    refused(put(tmp_path, {"fc.weight": torch.zeros(3, 3)}), "fc.weight", "another model")
    refused(put(tmp_path, {"state_dict": {"a": 1}}), "'a'", "not a tensor")
    refused(put(tmp_path, lightning(siren(36), None)), "no hyper_parameters")


def test_hyper_parameters_that_are_missing_or_odd(tmp_path: Path) -> None:
    for name in ("le_type", "pe_type", "embed_dim", "capacity", "num_hidden_layers", "legendre_polys"):
        values = hyper()
        del values[name]
        refused(put(tmp_path, lightning(siren(36), values)), name)
    for name, value in {
        "le_type": "wrap",
        "pe_type": "mlp",
        "capacity": "wide",
        "embed_dim": 0,
        "legendre_polys": 2.5,
        "num_hidden_layers": True,
        "harmonics_calculation": "discretized",
    }.items():
        refused(put(tmp_path, lightning(siren(36), hyper(**{name: value}))), repr(value))
    grid = {"le_type": "grid", "frequency_num": 9}
    refused(put(tmp_path, lightning(siren(36), hyper(**grid, min_radius=0))), "radius")
    refused(put(tmp_path, lightning(siren(36), hyper(**grid, min_radius="a"))), "'a'")
    refused(put(tmp_path, lightning(siren(4), hyper(le_type="grid", frequency_num=1))), "frequency_num = 1")


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    def broken(change: Any) -> Path:
        network = siren(36)
        change(network)
        return put(tmp_path, lightning(network, hyper()))

    refused(broken(lambda n: n.pop("layers.1.bias")), "lacks", "layers.1.bias")
    refused(broken(lambda n: n.update({"layers.2.weight": torch.zeros(32, 32)})), "unknown", "layers.2.weight")
    refused(broken(lambda n: n.update({"last_layer.bias": torch.zeros(8)})), "(8,)", "(7)")
    refused(broken(lambda n: n.update({"last_layer.bias": torch.zeros(7, dtype=torch.int64)})), "int64")
    refused(broken(lambda n: n["layers.0.weight"].fill_(math.nan)), "not finite")
    refused(put(tmp_path, lightning(siren(49), hyper(6))), "(32, 49)", "(32, 36)")
    refused(put(tmp_path, lightning(siren(36), hyper(), **{"model.location.posenc.freq": torch.zeros(3)})), "posenc")
    refused(put(tmp_path, lightning(siren(36), hyper(), **{"model.text.weight": torch.zeros(3)})), "model.text")
    other = {"model.nnet.last_layer.bias": torch.zeros(7)}
    refused(put(tmp_path, lightning(siren(36), hyper(), **other)), "twice", "last_layer.bias")


def test_the_basis_is_never_guessed(tmp_path: Path) -> None:
    values = hyper()
    del values["harmonics_calculation"]
    silent = put(tmp_path, lightning(siren(36), values), "silent.ckpt")
    refused(silent, "--basis", kind=UsageError)
    for basis in BASES:
        assert read_satclip([silent], basis=basis).encoder.card.recipe["basis"] == basis
    refused(silent, "'pi'", kind=UsageError, basis="pi")
    path = put(tmp_path, lightning(siren(36), hyper()))
    refused(path, "analytic", "closed-form", kind=UsageError, basis="closed-form")
    grid = put(tmp_path, lightning(siren(40), hyper(le_type="grid", frequency_num=10)), "grid.ckpt")
    refused(grid, "no harmonics", kind=UsageError, basis="analytic")
    with pytest.raises(UsageError, match="one checkpoint, not 2"):
        read_satclip([path, path])
    with pytest.raises(UsageError, match="known: geoclip, open-clip, places365, satclip"):
        importer("clip")
    assert list(IMPORTERS) == ["satclip", "geoclip", "open-clip", "places365"]
    with pytest.raises(UsageError, match="'pi'"):
        harmonic_factors("pi", 3)
