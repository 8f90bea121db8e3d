"""open_clip checkpoints, written in that layout, against a forward pass straight from the state dict."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import open_clip_oracle as oracle
import tiny_transformers as tiny
from placevec.cli.main import run
from placevec.encoders.importers.open_clip import read_open_clip, tokens
from placevec.encoders.importers.open_clip.layout import Layout, layout_of
from placevec.encoders.pair import open_pair
from placevec.errors import CheckpointError, UsageError

transformers = pytest.importorskip("transformers")

VOCABULARY = len(tiny.bpe_vocabulary())
TEXTS = np.array([*tiny.CAPTIONS, "two TENNIS courts, beside the river!", "the river " * 30], dtype=object)
CHIPS = tiny.chips(5, size=40)[:, :, 4:36, 4:36]  # as large as the model reads, so that nothing is resized

State = oracle.State


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_bpe(tmp_path_factory.mktemp("tokenizer"))


def written(folder: Path, state: Any, name: str = "RemoteCLIP-tiny.pt") -> Path:
    torch.save(state, folder / name)
    return folder / name


def ids(bpe: Path, context: int = 16) -> list[list[int]]:
    tokenizer = transformers.CLIPTokenizer.from_pretrained(bpe)
    return [tokenizer(text, truncation=True, max_length=context)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_both_towers_equal_the_formulas(tmp_path: Path, bpe: Path, activation: str) -> None:
    state = oracle.checkpoint(vocabulary=VOCABULARY)
    pair = read_open_clip([written(tmp_path, state)], tokenizer=bpe, activation=activation).encoder
    assert (pair.dims, pair.image.model.config.text_config.hidden_act) == (24, activation)
    expected = oracle.image_vectors(state, CHIPS, activation).numpy()
    found = pair.encode({"image": CHIPS})
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)
    expected = oracle.text_vectors(state, ids(bpe), activation).numpy()
    np.testing.assert_allclose(pair.text.encode({"text": TEXTS}), expected, atol=1e-4)
    assert pair.text.truncated == 1


def test_the_two_activations_are_told_apart(tmp_path: Path, bpe: Path) -> None:
    path = written(tmp_path, oracle.checkpoint(vocabulary=VOCABULARY))
    quick, exact = (read_open_clip([path], bpe, name).encoder for name in ("quick_gelu", "gelu"))
    assert quick.space != exact.space
    assert not np.allclose(quick.encode({"image": CHIPS}), exact.encode({"image": CHIPS}), atol=1e-3)


def wrapped(state: State) -> dict[str, Any]:
    prefixed = {f"module.{name}": value for name, value in state.items()}
    return {
        "epoch": 3,
        "name": "run",
        "state_dict": prefixed,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1.0}]},
    }


@pytest.mark.parametrize(
    "form",
    [
        lambda state: wrapped(state),
        lambda state: {"state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}},
        lambda state: state | {"attn_mask": torch.zeros(16, 16), "context_length": torch.tensor(16)},
        lambda state: {name: value.half().float() for name, value in state.items()},
        lambda state: {name: value.half() for name, value in state.items()},
    ],
    ids=["training checkpoint", "compiled", "old release", "plain", "half precision"],
)
def test_the_forms_of_a_checkpoint(tmp_path: Path, bpe: Path, form: Callable[[State], Any]) -> None:
    state = {
        name: value.half().float() for name, value in oracle.checkpoint(vocabulary=VOCABULARY, layers=(1, 1)).items()
    }
    pair = read_open_clip([written(tmp_path, form(state))], bpe).encoder
    expected = oracle.image_vectors(state, CHIPS, "gelu").numpy()
    np.testing.assert_allclose(pair.encode({"image": CHIPS}), expected, atol=1e-4)
    assert pair.card.recipe.get("epoch") == (3 if "epoch" in form(state) else None)


def test_safetensors_of_open_clip(tmp_path: Path, bpe: Path) -> None:
    state = oracle.checkpoint(vocabulary=VOCABULARY, layers=(1, 1))
    save_file(state, tmp_path / "open_clip_model.safetensors")
    pair = read_open_clip([tmp_path / "open_clip_model.safetensors"], bpe).encoder
    expected = oracle.text_vectors(state, ids(bpe), "gelu").numpy()
    np.testing.assert_allclose(pair.text.encode({"text": TEXTS}), expected, atol=1e-4)


def test_from_the_command_line_to_a_folder_that_transformers_reads(
    tmp_path: Path, bpe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = oracle.checkpoint(vocabulary=VOCABULARY)
    path, out = written(tmp_path, wrapped(state)), tmp_path / "models" / "remoteclip"
    assert run(["import", str(path), "--as", "open-clip", "--tokenizer", str(bpe / "merges.txt"), "-o", str(out)]) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    weights = sum(value.numel() for value in state.values())
    assert (record["kind"], record["name"], record["dims"]) == ("open-clip", "RemoteCLIP-tiny", 24)
    assert record["weights"] == weights
    assert "activation gelu" in said.err
    assert "--activation quick_gelu" in said.err
    pair = open_pair(out)
    assert pair.space.id == record["space"]
    assert pair.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert pair.card.sources[0].href == "RemoteCLIP-tiny.pt"
    expected = oracle.text_vectors(state, ids(bpe), "gelu").numpy()
    np.testing.assert_allclose(pair.text.encode({"text": TEXTS}), expected, atol=1e-4)
    model = transformers.CLIPModel.from_pretrained(out / "transformers")
    assert float(model.logit_scale.detach()) == pytest.approx(math.log(1 / 0.07))
    # What is imported twice is the same model: the Space and the files say so.
    first = {part.name: part.read_bytes() for part in out.rglob("*") if part.is_file()}
    assert run(["import", str(path), "--as", "open-clip", "--tokenizer", str(bpe), "-o", str(out)]) == 0
    again = {part.name: part.read_bytes() for part in out.rglob("*") if part.is_file()}
    assert first["model.safetensors"] == again["model.safetensors"]
    assert open_pair(out).space == pair.space


def damaged(state: State, kind: str) -> Any:
    half = state["visual.proj"][:64]
    return {
        "resnet": {**state, "visual.attnpool.positional_embedding": half, "visual.layer1.0.conv1.weight": half},
        "timm": {"visual.trunk.pos_embed": half, **state},
        "custom": {"text.transformer.embeddings.weight": half, **state},
        "missing": {name: value for name, value in state.items() if name != "visual.ln_pre.weight"},
        "no tokens": {name: value for name, value in state.items() if name != "token_embedding.weight"},
        "unknown": {**state, "visual.attn_pool.query": half},
        "shape": {**state, "visual.proj": half},
        "oblong": {**state, "visual.positional_embedding": state["visual.positional_embedding"][:-3]},
        "width": {**state, "visual.conv1.weight": state["visual.conv1.weight"][:100]},
        "nan": {**state, "ln_final.bias": state["ln_final.bias"] * math.nan},
        "location": {"LocEnc0.capsule.0.b": half},
        "list": [1, 2],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("resnet", r"a ResNet as its image tower.*supported: ViT-B/32"),
        ("timm", "an image tower of timm"),
        ("custom", "text tower of another kind"),
        ("missing", r"lacks the weight 'visual\.ln_pre\.weight'"),
        ("no tokens", r"lacks the weight 'token_embedding\.weight'"),
        ("unknown", r"has the unknown weight 'visual\.attn_pool\.query'"),
        ("shape", r"'visual\.proj' has the shape \(64, 24\)"),
        ("oblong", "14 positions are not those"),
        ("width", "width 100, which heads of 64 do not fill"),
        ("nan", "not finite"),
        ("location", r"lacks the weight 'visual\.conv1\.weight'"),
        ("list", "holds a list"),
    ],
)
def test_what_is_refused(tmp_path: Path, bpe: Path, kind: str, words: str) -> None:
    path = written(tmp_path, damaged(oracle.checkpoint(vocabulary=VOCABULARY, layers=(1, 1)), kind))
    with pytest.raises(CheckpointError, match=words) as caught:
        read_open_clip([path], bpe)
    assert "\n" not in str(caught.value)


def test_wrong_usage(tmp_path: Path, bpe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, oracle.checkpoint(vocabulary=VOCABULARY, layers=(1, 1)))
    out = tmp_path / "model"
    for more, words in (
        (["--as", "open-clip", "--activation", "relu"], "give quick_gelu or gelu"),
        (["--as", "open-clip", "--tokenizer", str(tmp_path / "none")], "neither a folder nor a file"),
        (["--as", "open-clip", "--basis", "analytic"], "takes no --basis"),
        (["--as", "satclip", "--tokenizer", str(bpe)], "takes no --tokenizer"),
        (["--tokenizer", str(bpe)], "say --as open-clip too"),
        (["--as", "open-clip", "--tokenizer", str(bpe), str(path)], "is one file, not 2"),
    ):
        assert run(["import", str(path), "-o", str(out), *more]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
        assert not out.exists()


def test_the_tokenizer_has_to_fit(tmp_path: Path, bpe: Path) -> None:
    other = written(tmp_path, oracle.checkpoint(vocabulary=VOCABULARY + 5, layers=(1, 1)))
    with pytest.raises(UsageError, match=f"has {VOCABULARY} tokens, the checkpoint {VOCABULARY + 5}"):
        read_open_clip([other], bpe)
    swapped = shutil.copytree(bpe, tmp_path / "swapped")
    words = json.loads((swapped / "vocab.json").read_text())
    words |= {"<|startoftext|>": words["<|endoftext|>"], "<|endoftext|>": words["<|startoftext|>"]}
    (swapped / "vocab.json").write_text(json.dumps(words))
    path = written(tmp_path, oracle.checkpoint(vocabulary=VOCABULARY, layers=(1, 1)))
    with pytest.raises(UsageError, match="none of CLIP's"):
        read_open_clip([path], swapped)


def test_without_a_tokenizer(tmp_path: Path, bpe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, oracle.checkpoint(vocabulary=VOCABULARY, layers=(1, 1)))

    def absent(name: str) -> Path:
        raise CheckpointError(f"the model {name!r} is not on this machine")

    monkeypatch.setattr(tokens, "model_folder", absent)
    with pytest.raises(UsageError, match=r"give --tokenizer.*bpe_simple_vocab_16e6\.txt\.gz"):
        read_open_clip([path])
    monkeypatch.setattr(tokens, "model_folder", lambda name: bpe)
    found = read_open_clip([path])
    assert found.encoder.card.recipe["tokenizer"] == "openai/clip-vit-base-patch32"


def shaped(width: int, text: int, dims: int, patch: int, side: int, layers: tuple[int, int], hidden: int) -> Layout:
    """The layout of a published model, from weights that have a shape and nothing else."""
    with torch.device("meta"):
        state = {
            "visual.conv1.weight": torch.empty(width, 3, patch, patch),
            "visual.positional_embedding": torch.empty(side * side + 1, width),
            "token_embedding.weight": torch.empty(49408, text),
            "positional_embedding": torch.empty(77, text),
            "text_projection": torch.empty(text, dims),
        }
        for prefix, wide, count, inner in (("visual.", width, layers[0], hidden), ("", text, layers[1], 4 * text)):
            for number in range(count):
                state[f"{prefix}transformer.resblocks.{number}.mlp.c_fc.weight"] = torch.empty(inner, wide)
    return layout_of(state, Path("model.pt"))


def test_the_published_shapes() -> None:
    """Heads, layers and sizes as the model cards and configurations of OpenAI and LAION give them."""
    base = shaped(768, 512, 512, 32, 7, (12, 12), 3072)
    assert (base.name, base.pixels, base.activation) == ("ViT-B-32", 224, "quick_gelu")
    assert (base.vision.heads, base.text.heads, base.vision.layers, base.context) == (12, 8, 12, 77)
    assert replace(base, patch=16, pixels=224) == shaped(768, 512, 512, 16, 14, (12, 12), 3072)
    large = shaped(1024, 768, 768, 14, 24, (24, 12), 4096)
    assert (large.name, large.pixels, large.activation) == ("ViT-L-14", 336, "quick_gelu")
    assert (large.vision.heads, large.text.heads) == (16, 12)
    huge = shaped(1280, 1024, 1024, 14, 16, (32, 24), 5120)
    assert (huge.name, huge.activation, huge.vision.heads, huge.text.heads) == ("ViT-H-14", "gelu", 16, 16)
    giant = shaped(1408, 1024, 1024, 14, 16, (40, 24), 6144)
    assert (giant.name, giant.vision.heads, giant.vision.hidden) == ("ViT-g-14", 16, 6144)
    biggest = shaped(1664, 1280, 1280, 14, 16, (48, 32), 8192)
    assert (biggest.name, biggest.vision.heads, biggest.text.heads) == ("ViT-bigG-14", 16, 20)


def test_heads_that_are_not_of_64(tmp_path: Path, bpe: Path) -> None:
    """The image tower of ViT-H/14 has heads of 80 components; the weights do not say so."""
    state = oracle.checkpoint(vocabulary=VOCABULARY, width=1280, inner=1, layers=(1, 1), side=2, patch=16)
    pair = read_open_clip([written(tmp_path, state)], bpe).encoder
    expected = oracle.image_vectors(state, CHIPS[:2], "gelu", head=80).numpy()
    np.testing.assert_allclose(pair.encode({"image": CHIPS[:2]}), expected, rtol=1e-4, atol=1e-4)
