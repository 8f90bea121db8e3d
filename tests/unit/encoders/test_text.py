"""The text encoder: its folder, its batches, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from placevec.encoders.model import CARD, load_encoder
from placevec.encoders.text import BATCH, TextEncoder, TextEncoderConfig
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.text import TextConfig, tokens
from placevec.provenance import Space

CONFIG = TextEncoderConfig(net=TextConfig(buckets=500, width=8, capacity=16), dims=6)


def captions(n: int = 20) -> np.ndarray:
    return np.array([f"{i} houses beside the {'river' if i % 2 else 'sea'}" for i in range(n)])


def test_a_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    encoder = TextEncoder.untrained(CONFIG, 3).save(tmp_path / "text")
    again = load_encoder(tmp_path / "text")
    assert isinstance(again, TextEncoder)
    assert again.card == encoder.card
    assert again.config == CONFIG
    assert (again.tower, again.inputs) == ("text", ("text",))
    assert np.array_equal(again.encode({"text": captions()}), encoder.encode({"text": captions()}))


def test_seeds() -> None:
    state = torch.get_rng_state()
    one, same, other = (TextEncoder.untrained(CONFIG, seed).encode({"text": captions()}) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_more_texts_than_a_batch_and_both_kinds_of_arrays() -> None:
    encoder = TextEncoder.untrained(CONFIG)
    many = captions(BATCH + 7)
    vectors = encoder.encode({"text": many})
    assert np.array_equal(vectors[-7:], encoder.encode({"text": many[-7:]}))
    assert np.array_equal(vectors, encoder.encode({"text": many.astype(object)}))


def test_a_trained_network_is_wrapped_with_its_weights() -> None:
    net = CONFIG.net.build(CONFIG.dims).eval()
    space = Space.mint(CONFIG.dims)
    encoder = TextEncoder.trained(net, CONFIG, space, name="captions", seed=4)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(net(tokens(captions().tolist(), CONFIG.net)), dim=1).numpy()
    assert np.allclose(encoder.encode({"text": captions()}), expected, atol=1e-6)
    assert (encoder.space, encoder.card.name, encoder.card.seed, encoder.card.normalized) == (
        space,
        "captions",
        4,
        True,
    )


def test_what_is_no_text_is_refused() -> None:
    encoder = TextEncoder.untrained(CONFIG)
    with pytest.raises(DataError, match="row 1 is None, not a text"):
        encoder.encode({"text": np.array(["here", None], dtype=object)})
    with pytest.raises(DataError, match=r"row 0 is 3\.5, not a text"):
        encoder.encode({"text": np.array([3.5])})
    with pytest.raises(DataError, match=r"texts of shape \(2, 1\)"):
        encoder.encode({"text": captions(2)[:, None]})
    with pytest.raises(UsageError, match="a text encoder reads 'text', and the source gives lonlat"):
        encoder.encode({"lonlat": np.zeros((2, 2))})
    with pytest.raises(UsageError, match="dims = 0"):
        TextEncoderConfig(dims=0)


def test_a_card_of_another_shape_is_refused(tmp_path: Path) -> None:
    TextEncoder.untrained(CONFIG).save(tmp_path / "text")
    path = tmp_path / "text" / CARD
    card = json.loads(path.read_text())
    for changes, said in (({"buckets": 400}, "bag.weight"), ({"bucket": 500}, "no setting 'bucket'")):
        path.write_text(json.dumps({**card, "config": {**card["config"], "net": {**card["config"]["net"], **changes}}}))
        with pytest.raises(CheckpointError, match=said):
            load_encoder(tmp_path / "text")
