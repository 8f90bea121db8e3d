"""Networks that turn texts into vectors, trained from nothing: no file is fetched.

Each kind is a commented dataclass that describes and builds it, and says how texts become its tokens; a new one is one
dataclass and one line in `TEXT_NETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from placevec.nn import configs
from placevec.nn.text.base import PADDING, TextNetConfig, tokens
from placevec.nn.text.hashed import TextConfig, TextNet
from placevec.nn.text.splitting import split, words
from placevec.nn.text.vocabulary import Vocabulary
from placevec.nn.text.word_level import WordsConfig, WordsNet

__all__ = [
    "DEFAULT_KIND",
    "PADDING",
    "TEXT_NETS",
    "TextConfig",
    "TextNet",
    "TextNetConfig",
    "Vocabulary",
    "WordsConfig",
    "WordsNet",
    "split",
    "text_config",
    "tokens",
    "words",
]

TEXT_NETS: dict[str, type[Any]] = {config.kind: config for config in (TextConfig, WordsConfig)}
"""Every text network, by its kind."""

DEFAULT_KIND = TextConfig.kind  # what a description without a kind means: there was one network only at first


def text_config(value: Mapping[str, Any]) -> TextNetConfig:
    """The config that a JSON object describes, such as ``{"kind": "words", "layers": 2}``.

    Raises:
        UsageError: an unknown kind or setting.
    """
    kind = str(value.get("kind", DEFAULT_KIND))
    config: TextNetConfig = configs.from_json(configs.pick(TEXT_NETS, kind, "text network"), value)
    return config
