"""Vision models of transformers as backbones, from folders in the real layout, against transformers' own forward."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny_transformers as tiny
from placevec.encoders.backbones import Backbone, backbone_config, open_backbone, restore_backbone
from placevec.encoders.hf import HfImageEncoder
from placevec.encoders.pair import open_pair
from placevec.errors import CheckpointError, DataError, UsageError

transformers = pytest.importorskip("transformers")

SAME_SIZE = torch.from_numpy(tiny.chips(5, size=40)[:, :, 4:36, 4:36].copy())  # as large as the model reads
OTHER_SIZE = torch.from_numpy(tiny.chips(5, size=90, seed=1))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.write_clip(root / "clip")
    tiny.write_siglip(root / "siglip")
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    transformers.Dinov2Model(transformers.Dinov2Config(**small)).save_pretrained(root / "dinov2")
    crop = {"height": 32, "width": 32}
    transformers.BitImageProcessorPil(size={"shortest_edge": 40}, crop_size=crop).save_pretrained(root / "dinov2")
    transformers.ViTModel(transformers.ViTConfig(**small, intermediate_size=32)).save_pretrained(root / "vit")
    transformers.ViTImageProcessorPil(size=crop).save_pretrained(root / "vit")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    transformers.ResNetModel(config).save_pretrained(root / "resnet")
    transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875).save_pretrained(root / "resnet")
    return root


def opened(folder: Path, features: str = "cls") -> Backbone:
    return open_backbone(backbone_config({"kind": "hf", "model": str(folder), "features": features})).eval()


def by_transformers(folder: Path, images: Tensor, features: str) -> Tensor:
    """The feature by the model of transformers itself, on pixels that its processor made with Pillow."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=list(images.numpy()), return_tensors="pt", input_data_format="channels_first")
    with torch.no_grad():
        if features == "projection":
            found = model.get_image_features(**pixels)
            return found if isinstance(found, Tensor) else found.pooler_output
        out = getattr(model, "vision_model", model)(**pixels)
    if features == "pooler":
        return out.pooler_output.flatten(1)
    hidden = out.last_hidden_state
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))
    return hidden[:, 0] if features == "cls" else hidden.mean(dim=1)


CASES = [
    ("clip", "cls", 16),
    ("clip", "pooler", 16),
    ("clip", "projection", tiny.DIMS),
    ("clip", "mean", 16),
    ("siglip", "pooler", 16),
    ("siglip", "mean", 16),
    ("dinov2", "cls", 16),
    ("dinov2", "pooler", 16),
    ("vit", "cls", 16),
    ("vit", "pooler", 16),
    ("resnet", "pooler", 16),
    ("resnet", "mean", 16),
]


@pytest.mark.filterwarnings("ignore")  # of transformers, about itself
@pytest.mark.parametrize(("name", "features", "width"), CASES)
def test_features_are_those_of_transformers(folders: Path, name: str, features: str, width: int) -> None:
    backbone = opened(folders / name, features)
    assert backbone.width == width
    for images, tolerance in ((SAME_SIZE, 1e-5), (OTHER_SIZE, 0.03)):
        wanted = by_transformers(folders / name, images, features)
        if name == "dinov2" and images is SAME_SIZE:
            tolerance = 0.03  # its processor resizes to 40 and takes the centre of 32
        with torch.no_grad():
            found = backbone(images)
        assert found.shape == (len(images), width)
        scale = float((wanted - wanted.mean(dim=0)).abs().max())
        assert float((found - wanted).abs().max()) <= tolerance * max(scale, 1e-3), (name, features)


def test_the_class_token_of_a_clip_comes_before_its_last_norm(folders: Path) -> None:
    found = opened(folders / "clip", "cls")(SAME_SIZE)
    norm = transformers.CLIPModel.from_pretrained(folders / "clip").vision_model.post_layernorm
    pooled = opened(folders / "clip", "pooler")(SAME_SIZE)
    torch.testing.assert_close(norm(found), pooled)
    assert not torch.allclose(found, pooled, atol=0.1)


def test_the_image_tower_alone_has_the_same_features(folders: Path, tmp_path: Path) -> None:
    """`CLIPVisionModel` folders have other names of weights; the backbone has one set of names for both."""
    whole = transformers.CLIPModel.from_pretrained(folders / "clip")
    transformers.CLIPVisionModel(whole.config.vision_config).save_pretrained(tmp_path / "tower")
    tower = transformers.CLIPVisionModel.from_pretrained(tmp_path / "tower")
    source = whole.vision_model
    while hasattr(source, "vision_model"):
        source = source.vision_model
    goal: Any = tower
    while hasattr(goal, "vision_model"):
        goal = goal.vision_model
    goal.load_state_dict(source.state_dict())
    tower.save_pretrained(tmp_path / "tower")
    shutil.copy(folders / "clip" / "preprocessor_config.json", tmp_path / "tower")
    one, other = opened(folders / "clip"), opened(tmp_path / "tower")
    assert list(one.state_dict()) == list(other.state_dict())
    torch.testing.assert_close(one(OTHER_SIZE), other(OTHER_SIZE))
    with pytest.raises(UsageError, match="has no projection"):
        opened(tmp_path / "tower", "projection")


def test_settings_of_the_processor_in_the_form_of_old_folders(folders: Path, tmp_path: Path) -> None:
    """As openai/clip-vit-base-patch16 has them: plain numbers, and no scale."""
    shutil.copytree(folders / "clip", tmp_path / "old")
    path = tmp_path / "old" / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    kept = {key: settings[key] for key in ("do_center_crop", "do_normalize", "do_resize", "image_mean", "image_std")}
    old = {"crop_size": 32, "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 32}
    path.write_text(json.dumps({**kept, **old}))
    torch.testing.assert_close(opened(tmp_path / "old")(OTHER_SIZE), opened(folders / "clip")(OTHER_SIZE))


@pytest.mark.parametrize(("name", "features", "width"), CASES)
def test_it_is_built_again_from_description_and_files(
    folders: Path, tmp_path: Path, name: str, features: str, width: int
) -> None:
    backbone = opened(folders / name, features)
    described, assets = json.loads(json.dumps(backbone.describe())), backbone.assets()
    assert set(assets) == {"config.json", "preprocessor_config.json"}
    assert str(folders) not in json.dumps(described) + "".join(map(bytes.decode, assets.values()))
    before = torch.random.get_rng_state()
    again = restore_backbone(described, assets).eval()
    assert torch.equal(before, torch.random.get_rng_state()), "random numbers of others were used up"
    assert (again.width, again.pixels, again.parts()) == (width, backbone.pixels, backbone.parts())
    assert again.cache_key() != backbone.cache_key()
    again.load_state_dict(backbone.state_dict())
    assert again.cache_key() == backbone.cache_key()
    assert again.describe() == described
    assert torch.equal(again(OTHER_SIZE), backbone(OTHER_SIZE))


def test_parts_run_from_the_embeddings_to_what_follows_the_layers(folders: Path) -> None:
    layers = [(f"vision.encoder.layers.{number}",) for number in range(2)]
    first = ("vision.embeddings", "vision.pre_layrnorm")
    assert opened(folders / "clip", "cls").parts() == (first, *layers)
    assert opened(folders / "clip", "pooler").parts() == (first, *layers, ("vision.post_layernorm",))
    rest = ("vision.post_layernorm", "projection")
    assert opened(folders / "clip", "projection").parts() == (first, *layers, rest)
    assert opened(folders / "siglip", "pooler").parts()[-1] == ("vision.post_layernorm", "vision.head")
    assert len(opened(folders / "resnet", "mean").parts()) == 3


def test_the_last_layers_learn_and_nothing_else(folders: Path) -> None:
    backbone = opened(folders / "clip", "cls")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.thaw(1)
    backbone.train()
    step = torch.optim.SGD([value for value in backbone.parameters() if value.requires_grad], lr=0.1)
    backbone(OTHER_SIZE).square().mean().backward()
    assert all(value.grad is not None for value in backbone.parameters() if value.requires_grad)
    step.step()
    changed = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("vision.encoder.layers.1.") for name in changed)


@pytest.mark.parametrize("features", ["cls", "projection"])
def test_a_thawed_model_has_no_weight_without_a_gradient(folders: Path, features: str) -> None:
    backbone = opened(folders / "clip", features).train()
    backbone(OTHER_SIZE).square().mean().backward()
    assert [name for name, value in backbone.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("kind", ["image", "pair"])
def test_model_folders_that_name_a_model_are_backbones_too(folders: Path, tmp_path: Path, kind: str) -> None:
    encoder = HfImageEncoder.open(str(folders / "clip"))
    saved = encoder if kind == "image" else open_pair(f"hf:{folders / 'clip'}")
    saved.save(tmp_path / "model")
    backbone = open_backbone(backbone_config({"kind": "model", "folder": str(tmp_path / "model")})).eval()
    assert backbone.kind == "hf"
    found = backbone(SAME_SIZE).detach().numpy()
    np.testing.assert_allclose(found, encoder.encode({"image": SAME_SIZE.numpy()}), atol=1e-5)


def test_folders_that_cannot_be_used(folders: Path, tmp_path: Path) -> None:
    for name, features, kind, words in (
        ("siglip", "cls", UsageError, "no class token"),
        ("siglip", "projection", UsageError, "has no projection"),
        ("clip", "logits", UsageError, "'logits'"),
        ("nowhere/at/all", "cls", CheckpointError, "is not a folder"),
    ):
        with pytest.raises(kind, match=words):
            opened(folders / name, features)
    tiny.write_naflex(tmp_path / "naflex")
    with pytest.raises(CheckpointError, match="in a way that is not known"):
        opened(tmp_path / "naflex", "pooler")
    shutil.copytree(folders / "clip", tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be loaded as a model"):
        opened(tmp_path / "cut")
    shutil.copytree(folders / "clip", tmp_path / "lacking")
    from safetensors.torch import load_file, save_file

    state = load_file(tmp_path / "lacking" / "model.safetensors")
    gone = next(name for name in state if "vision" in name and "layers.1" in name)
    del state[gone]
    save_file(state, tmp_path / "lacking" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks the weights"):
        opened(tmp_path / "lacking")
    bert = transformers.BertModel(
        transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    )
    bert.save_pretrained(tmp_path / "bert")
    shutil.copy(folders / "clip" / "preprocessor_config.json", tmp_path / "bert")
    with pytest.raises(CheckpointError, match="no vision model"):
        opened(tmp_path / "bert")


def test_descriptions_that_are_damaged(folders: Path) -> None:
    backbone = opened(folders / "clip", "projection")
    described, assets = backbone.describe(), backbone.assets()
    for change, files in (
        ({}, {"config.json": b"{"}),
        ({}, {"config.json": b"[]"}),
        ({}, {"config.json": b"{}"}),
        ({}, {"config.json": b'{"model_type": "clipper"}'}),
        ({"feature": "all"}, {}),
        ({"projection": "wide"}, {}),
        ({"kind": "vgg"}, {}),
    ):
        with pytest.raises(CheckpointError):
            restore_backbone({**described, **change}, {**assets, **files})
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        restore_backbone(described, {"config.json": assets["config.json"]})
    with pytest.raises(CheckpointError, match="source"):
        restore_backbone({key: value for key, value in described.items() if key != "source"}, assets)


def test_images_that_do_not_fit(folders: Path) -> None:
    backbone = opened(folders / "clip")
    assert backbone(OTHER_SIZE[:0]).shape == (0, 16)
    with pytest.raises(DataError, match="squares"):
        backbone(OTHER_SIZE[:, :, :60])
    with pytest.raises(DataError, match="float32"):
        backbone(OTHER_SIZE.float())
    with pytest.raises(DataError, match="3, S, S"):
        backbone(OTHER_SIZE[:, :1])
