"""An image tower and a text tower of one Space, kept as one model: what search in words needs.

The folder of a pair::

    card.json        kind "pair", the Space of both, hashes of all other files but weights
    image/  text/    model folders of the towers; their cards hold the hashes of their weights
    transformers/    the model of transformers that both towers are parts of, if they are: as `save_pretrained` wrote it
    relevance.json   how scores become relevance, where that was fitted
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from placevec import files
from placevec.encoders.base import Carded, Encoder, ModelCard, Vectors
from placevec.encoders.model import CARD, load_encoder, read_card
from placevec.errors import CheckpointError, UsageError
from placevec.provenance import Space, sha256_file
from placevec.registry import need

if TYPE_CHECKING:
    from torch import Tensor, nn

KIND = "pair"
IMAGE, TEXT = "image", "text"
TRANSFORMERS = "transformers"
RELEVANCE = "relevance.json"


class PairModel(Carded):
    """Two towers of one Space. As an encoder it reads images; `text` is the one that reads texts.

    Args:
        image: the encoder that reads "image".
        text: the encoder that reads "text", in the same Space.
        card: what they are together; see `pair_card`.
        relevance: how scores become relevance, a JSON object.

    Raises:
        SpaceMismatch: the towers or the card are of different Spaces.
        UsageError: a tower that reads something else.
    """

    def __init__(
        self, image: Encoder, text: Encoder, card: ModelCard, relevance: Mapping[str, Any] | None = None
    ) -> None:
        for tower, key in ((image, IMAGE), (text, TEXT)):
            if tower.inputs != (key,):
                raise UsageError(f"the {key} tower of a pair reads {key!r}, not {', '.join(tower.inputs)}")
            card.space.require(tower.space, f"joining the {key} tower to a pair")
        # A table of image vectors names the weights that made it: those of the image tower.
        super().__init__(replace(card, weights_sha256=image.card.weights_sha256))
        self.image = image
        self.text = text
        self.relevance = None if relevance is None else dict(relevance)

    @classmethod
    def of(
        cls,
        image: Encoder,
        text: Encoder,
        *,
        space: Space | None = None,
        relevance: Mapping[str, Any] | None = None,
        **card: Any,
    ) -> PairModel:
        """The pair of two towers, with the card that follows from them.

        Args:
            image: the image tower.
            text: the text tower.
            space: the Space that both are in from now on; None leaves them in theirs. Only towers of transformers can
                be moved so; others are made in their Space.
            relevance: see the class.
            card: further fields of the card.
        """
        from placevec.encoders.hf.tower import HfTower

        if space is not None:
            image = image.with_card(replace(image.card, space=space)) if isinstance(image, HfTower) else image
            text = text.with_card(replace(text.card, space=space)) if isinstance(text, HfTower) else text
        return cls(image, text, pair_card(image, **card), relevance)

    @classmethod
    def from_card(cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu") -> PairModel:
        """Build the pair of a model folder; see `encoders.model.load_encoder`."""
        image = load_encoder(folder / IMAGE, device)
        text = _text_beside(image, folder)
        if text is None:
            text = load_encoder(folder / TEXT, device)
        relevance = _relevance(folder / RELEVANCE) if RELEVANCE in card.assets else None
        return cls(image, text, card, relevance)

    @property
    def logit_scale(self) -> float | None:
        """What cosines are multiplied by before the softmax of the training; None where that is not known."""
        value = self.card.config.get("logit_scale")
        return float(value) if isinstance(value, (int, float)) else None

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `image` (n, bands, h, w), by the image tower."""
        return self.image.encode(data)

    def modules(self) -> list[nn.Module]:
        """The networks of the towers, each once: a model of transformers is both towers."""
        found: list[nn.Module] = []
        for tower in (self.image, self.text):
            net = getattr(tower, "model", None) or getattr(tower, "net", None)
            if net is not None and all(net is not other for other in found):
                found.append(net)
        return found

    def save(self, folder: str | Path) -> PairModel:
        """Write the folder, whole or not at all; the answer is the pair with the cards as written."""
        with files.whole(folder) as part:
            part.mkdir()
            image, text = _save_towers(self.image, self.text, self.card.name, part)
            if self.relevance is not None:
                text_of = json.dumps(self.relevance, indent=1, sort_keys=True, allow_nan=False)
                (part / RELEVANCE).write_text(text_of + "\n", encoding="utf-8")
            # Hashes of weights stand in the cards of the towers, and those cards are hashed here.
            assets = {
                path.relative_to(part).as_posix(): sha256_file(path)
                for path in sorted(part.rglob("*"))
                if path.is_file() and path.suffix != ".safetensors"
            }
            card = replace(self.card, weights_sha256="", assets=assets)
            (part / CARD).write_text(card.text(), encoding="utf-8")
        return PairModel(image, text, card, self.relevance)


def pair_card(image: Encoder, **more: Any) -> ModelCard:
    """The card of a pair with the image tower `image`; `more` are further fields."""
    card = ModelCard(
        kind=KIND,
        space=image.space,
        tower=IMAGE,
        inputs=(IMAGE,),
        normalized=image.card.normalized,
        name=image.card.name,
    )
    return replace(card, **more)


def open_pair(name: str | Path, *, allow_download: bool = False, device: str = "cpu") -> PairModel:
    """The pair called `name`.

    Args:
        name: a folder that `PairModel.save` wrote, or ``hf:NAME`` or ``hf:FOLDER``, a CLIP or SigLIP of transformers.
        allow_download: may the network be used.
        device: of torch.

    Raises:
        UsageError: there is no such folder, or it holds a model of one tower.
        CheckpointError: the model cannot be loaded, or has no text tower.
    """
    text = str(name)
    if text.startswith("hf:"):
        return _open_hf(text, allow_download, device)
    folder = Path(name)
    if not folder.is_dir():
        raise UsageError(f"{name} is no folder: give a pair of towers, or hf:NAME (a CLIP or SigLIP of transformers)")
    if not (folder / CARD).is_file() and (folder / "config.json").is_file():
        raise UsageError(f"{name} is a model of transformers: say hf:{name}")
    kind = read_card(folder).kind
    if kind != KIND:
        raise UsageError(
            f"{name} holds one encoder ({kind}), not a pair of an image and a text tower: give such a pair"
        )
    need("torch", extra="torch", purpose="a learned encoder")
    found = load_encoder(folder, device)
    assert isinstance(found, PairModel)
    return found


def open_text_tower(folder: str | Path, device: str = "cpu") -> Encoder:
    """The text tower of the pair in `folder`, without loading its image tower where they are two models.

    Raises:
        CheckpointError: the folder holds no pair, or a file of it has changed.
    """
    root = Path(folder)
    card = read_card(root)
    if card.kind != KIND:
        raise CheckpointError(f"{folder} is no pair of an image and a text tower, but an encoder of kind {card.kind}")
    path = root / TEXT / CARD
    if not path.is_file() or sha256_file(path) != card.assets.get(f"{TEXT}/{CARD}"):
        raise CheckpointError(f"{path} is missing or not the file that the card names: copy the whole folder again")
    tower = load_encoder(root / TEXT, device)
    card.space.require(tower.space, f"reading the text tower of {folder}")
    return tower


def _open_hf(name: str, allow_download: bool, device: str) -> PairModel:
    need("torch", extra="torch", purpose="hf: encoders")
    from placevec.encoders.hf import HfImageEncoder, HfTextEncoder

    image = HfImageEncoder.open(name, allow_download=allow_download, device=device)
    text = HfTextEncoder.beside(image)
    scale = getattr(image.model, "logit_scale", None)
    config = {} if scale is None else {"logit_scale": round(math.exp(float(scale.detach())), 6)}
    # The name of a published Space is name@revision: where a folder lies on this machine is nobody's business.
    return PairModel.of(image, text, config=config, name=image.space.id.partition(":")[2])


def _text_beside(image: Encoder, folder: Path) -> Encoder | None:
    """The text tower in `folder` where it is a part of the model of the image tower, which is loaded already."""
    card = read_card(folder / TEXT)
    if card.kind != "hf-text" or image.card.kind != "hf":
        return None
    from placevec.encoders.hf import HfImageEncoder, HfTextEncoder
    from placevec.encoders.hf.loading import model_folder, open_tokenizer
    from placevec.encoders.hf.tower import model_of

    same = all(card.config.get(key) == image.card.config.get(key) for key in ("model", "revision", "sha256"))
    if not same or not isinstance(image, HfImageEncoder):
        return None
    tokenizer = open_tokenizer(model_folder(*model_of(card, folder / TEXT)))
    text = HfTextEncoder.beside(image, tokenizer)
    return text.with_card(replace(card, weights_sha256=image.card.weights_sha256))


def _save_towers(image: Encoder, text: Encoder, name: str, part: Path) -> tuple[Encoder, Encoder]:
    """Write both towers of the pair `name` below `part`, a model that they share once.

    The answer are the towers with their cards as written.
    """
    from placevec.encoders.hf.tower import HfTower

    written: dict[int, tuple[str, str]] = {}  # id of a model: the folder it was written to, sha256 of its weights
    towers = [(IMAGE, image), (TEXT, text)]
    for key, tower in towers:
        if isinstance(tower, HfTower) and id(tower.model) not in written:
            folder = TRANSFORMERS if not written else f"{TRANSFORMERS}-{key}"
            written[id(tower.model)] = (folder, tower.save_weights(part / folder))
    done: list[Encoder] = []
    for key, tower in towers:
        if isinstance(tower, HfTower):
            folder, digest = written[id(tower.model)]
            tower.save_files(part / folder)
            config = {**tower.card.config, "model": f"../{folder}", "revision": None, "sha256": digest}
            card = replace(tower.card, config=config, weights_sha256=digest, name=name or tower.card.name)
            done.append(tower.with_card(card).save(part / key))
        elif hasattr(tower, "save"):
            done.append(tower.save(part / key))
        else:
            raise UsageError(f"a pair with a {tower.card.kind} encoder cannot be saved: it has no `save`")
    return done[0], done[1]


def _relevance(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): copy the model folder again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds {type(value).__name__}, not an object: copy the model folder again")
    return value
