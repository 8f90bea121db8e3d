"""GeoCLIP's location weights: written here in the peer's layout, its function evaluated in float64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from placevec.encoders.importers.geoclip import read_geoclip
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError, UsageError
from placevec.nn.position import RandomFourier
from placevec.provenance import sha256_file

Floats = NDArray[np.float64]
State = dict[str, torch.Tensor]

LATLON = np.random.default_rng(1).uniform((-90, -180), (90, 180), (50, 2))
LATLON[:6] = [(0, 0), (0, 180), (10, -180), (90, 12), (-90, -70), (40.4, -3.7)]
LONLAT = LATLON[:, ::-1]


def peer(latlon: Floats, state: State) -> Floats:
    """GeoCLIP's function of (lat, lon): Equal Earth, cos and sin of 2πBv and ReLU layers for each scale, summed."""
    n = {name: value.double().numpy() for name, value in state.items()}
    lat, lon = np.radians(latlon).T
    theta = np.arcsin(math.sqrt(3) / 2 * np.sin(lat))
    below = 3 * (9 * 0.003796 * theta**8 + 7 * 0.000893 * theta**6 + 3 * -0.081106 * theta**2 + 1.340264)
    x = 2 * math.sqrt(3) * lon * np.cos(theta) / below
    y = 0.003796 * theta**9 + 0.000893 * theta**7 + -0.081106 * theta**3 + 1.340264 * theta
    v = np.stack([x, y], axis=1) * 66.50336 / 180
    total = np.zeros(())
    for i in range(len({name.split(".")[0] for name in n})):
        angle = 2 * np.pi * v @ n[f"LocEnc{i}.capsule.0.b"].T
        h = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
        layer = 1
        while f"LocEnc{i}.capsule.{layer}.weight" in n:
            h = h @ n[f"LocEnc{i}.capsule.{layer}.weight"].T + n[f"LocEnc{i}.capsule.{layer}.bias"]
            h = np.maximum(h, 0)
            layer += 2
        total = total + h @ n[f"LocEnc{i}.head.0.weight"].T + n[f"LocEnc{i}.head.0.bias"]
    return total


def weights(
    sigmas: tuple[float, ...] = (1.0, 16.0, 256.0), frequencies: int = 64, capacity: int = 48, layers: int = 3
) -> State:
    generator = torch.Generator().manual_seed(0)

    def linear(name: str, rows: int, columns: int) -> State:
        bound = math.sqrt(6 / columns)
        return {
            f"{name}.weight": (torch.rand((rows, columns), generator=generator) * 2 - 1) * bound,
            f"{name}.bias": torch.rand(rows, generator=generator) - 0.5,
        }

    state: State = {}
    for i, sigma in enumerate(sigmas):
        state[f"LocEnc{i}.capsule.0.b"] = sigma * torch.randn((frequencies, 2), generator=generator)
        inputs = 2 * frequencies
        for layer in range(layers):
            state |= linear(f"LocEnc{i}.capsule.{2 * layer + 1}", capacity, inputs)
            inputs = capacity
        state |= linear(f"LocEnc{i}.head.0", 24, inputs)
    return state


def put(tmp_path: Path, content: Any, name: str = "location_encoder_weights.pth") -> Path:
    torch.save(content, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    "shape",
    [{}, {"sigmas": (1.0, 16.0, 256.0, 4096.0)}, {"sigmas": (3.0,), "layers": 1}, {"frequencies": 256, "layers": 5}],
)
def test_values(tmp_path: Path, shape: dict[str, Any]) -> None:
    state = weights(**shape)
    encoder = read_geoclip([put(tmp_path, state)]).encoder
    expected = peer(LATLON, state)
    found = encoder.encode({"lonlat": LONLAT})
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))
    swapped = encoder.encode({"lonlat": LATLON})[20:]
    assert np.abs(swapped - expected[20:]).max() > 0.1, "the order of coordinates must matter"


def test_the_real_shape(tmp_path: Path) -> None:
    """3 capsules of 3 layers of 1,024 over 256 frequencies, to 512: as published."""
    state = weights(frequencies=256, capacity=1024)
    state = {name: value for name, value in state.items() if ".head." not in name}
    for i in range(3):
        state |= {f"LocEnc{i}.head.0.weight": torch.randn(512, 1024) / 32, f"LocEnc{i}.head.0.bias": torch.zeros(512)}
    encoder = read_geoclip([put(tmp_path, state)]).encoder
    assert encoder.config.position == RandomFourier((1.0, 16.0, 256.0), 256)
    np.testing.assert_allclose(encoder.encode({"lonlat": LONLAT}), peer(LATLON, state), atol=1e-4)


def test_the_card_and_the_folder(tmp_path: Path) -> None:
    path = put(tmp_path, weights())
    model = read_geoclip([path, put(tmp_path, torch.nn.Parameter(torch.tensor(3.5)), "logit_scale_weights.pth")])
    encoder = model.encoder.save(tmp_path / "model")
    card, digest = encoder.card, sha256_file(path)
    assert card.space.id == f"published:geoclip@{digest[:16]}"
    assert (card.licence, card.sources[0].sha256, card.parents) == ("MIT", digest, (digest,))
    assert card.recipe == {
        "import": "geoclip",
        "sigmas": [1.0, 16.0, 256.0],
        "frequencies": 64,
        "logit_scale": 3.5,
    }
    again = load_encoder(tmp_path / "model")
    np.testing.assert_array_equal(again.encode({"lonlat": LONLAT}), encoder.encode({"lonlat": LONLAT}))
    assert "(lat, lon)" in model.notes[0]


def test_the_whole_model_and_other_containers(tmp_path: Path) -> None:
    state = weights()
    whole = {f"location_encoder.{name}": value for name, value in state.items()}
    whole |= {"logit_scale": torch.tensor(2.0), "image_encoder.mlp.0.weight": torch.zeros(2, 2)}
    whole |= {"gps_queue": torch.zeros(2, 8), "gps_queue_ptr": torch.zeros(1, dtype=torch.int64)}
    model = read_geoclip([put(tmp_path, whole)])
    assert model.encoder.card.recipe["logit_scale"] == 2.0
    assert "3 weights" in model.notes[-1]
    expected = model.encoder.encode({"lonlat": LONLAT})
    wrapped = read_geoclip([put(tmp_path, {"state_dict": state}, "wrapped.pth")]).encoder
    np.testing.assert_array_equal(wrapped.encode({"lonlat": LONLAT}), expected)
    save_file(state, tmp_path / "geoclip.safetensors")
    safe = read_geoclip([tmp_path / "geoclip.safetensors"]).encoder
    np.testing.assert_array_equal(safe.encode({"lonlat": LONLAT}), expected)


def refused(paths: list[Path], *words: str, kind: type[Exception] = CheckpointError) -> None:
    with pytest.raises(kind) as caught:
        read_geoclip(paths)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


def test_faults(tmp_path: Path) -> None:
    def broken(change: Any) -> list[Path]:
        state = weights()
        change(state)
        return [put(tmp_path, state)]

    refused(broken(lambda s: s.pop("LocEnc1.capsule.0.b")), "lacks", "LocEnc1.capsule.0.b")
    refused(broken(lambda s: s.pop("LocEnc2.head.0.bias")), "lacks", "LocEnc2.head.0.bias")
    refused(broken(lambda s: s.update({"LocEnc1.km": torch.zeros(1)})), "unknown", "LocEnc1.km")
    refused(broken(lambda s: s.update({"fc.weight": torch.zeros(1)})), "unknown", "fc.weight")
    refused(broken(lambda s: s.update({"LocEnc3.head.0.bias": torch.zeros(24)})), "lacks", "LocEnc3.capsule.0.b")
    refused(broken(lambda s: s.update({"LocEnc1.capsule.1.weight": torch.zeros(48, 7)})), "(48, 7)", "(48, 128)")
    refused(broken(lambda s: s.update({"LocEnc0.capsule.0.b": torch.zeros(64, 3)})), "(64, 3)", "(n, 2)")
    refused(broken(lambda s: s.update({"LocEnc2.capsule.0.b": torch.full((64, 2), math.inf)})), "not finite")
    refused(broken(lambda s: s.clear()), "holds nothing")
    refused([put(tmp_path, {"logit_scale": torch.tensor(1.0)})], "lacks", "LocEnc0")
    refused([put(tmp_path, {"a": 1})], "'a'", "not a tensor")
    refused([put(tmp_path, torch.zeros(3))], "one tensor of (3,)")
    refused([], "not 0", kind=UsageError)
    good = put(tmp_path, weights())
    refused([good, good], "not 2", kind=UsageError)
    good.write_bytes(good.read_bytes()[:-100])
    refused([good], "cannot be read")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    refused([tmp_path / "cut.safetensors"], "cannot be read")
