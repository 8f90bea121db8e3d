"""The tokenizer of an open_clip checkpoint, which holds none: all CLIPs of that layout have OpenAI's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from placevec.encoders.hf.loading import loaded, model_folder
from placevec.encoders.importers.open_clip.bpe import BEGIN, END, read_merges, write_tokenizer
from placevec.encoders.importers.open_clip.layout import Layout
from placevec.errors import CheckpointError, UsageError
from placevec.registry import need

CACHED = "openai/clip-vit-base-patch32"  # whose tokenizer is looked for on this machine; any CLIP of OpenAI has it


def tokenizer_for(layout: Layout, given: str | Path | None) -> tuple[Any, str]:
    """The tokenizer, and where it comes from, for people.

    Args:
        layout: of the checkpoint.
        given: a folder (tokenizer.json, or vocab.json and merges.txt), OpenAI's list of merges, or None for the
            tokenizer of `CACHED` in the local cache of the hub.

    Raises:
        UsageError: nothing is given and nothing is cached, or the tokenizer has another vocabulary.
        DataError: the list of merges cannot be read.
        CheckpointError: the folder holds no tokenizer.
    """
    if given is None:
        try:
            folder = model_folder(CACHED)
        except CheckpointError:
            raise UsageError(
                "the checkpoint holds no tokenizer, and none is on this machine: give --tokenizer, OpenAI's list of "
                f"merges (bpe_simple_vocab_16e6.txt.gz) or a folder with the tokenizer of {CACHED}"
            ) from None
        return _checked(_open(folder, layout), layout, CACHED), CACHED
    path = Path(given).expanduser()
    if path.is_dir():
        return _checked(_open(path, layout), layout, str(path)), path.name
    if not path.is_file():
        raise UsageError(f"--tokenizer {given} is neither a folder nor a file: give one of the two")
    with tempfile.TemporaryDirectory() as folder_name:
        write_tokenizer(Path(folder_name), read_merges(path, layout.vocabulary))
        return _checked(_open(Path(folder_name), layout), layout, str(path)), path.name


def _open(folder: Path, layout: Layout) -> Any:
    transformers = need("transformers", extra="torch", purpose="a CLIP")
    return loaded(
        lambda: transformers.CLIPTokenizer.from_pretrained(
            folder, local_files_only=True, model_max_length=layout.context
        ),
        folder,
        "a tokenizer",
    )


def _checked(tokenizer: Any, layout: Layout, name: str) -> Any:
    if len(tokenizer) != layout.vocabulary:
        raise UsageError(
            f"the tokenizer {name} has {len(tokenizer)} tokens, the checkpoint {layout.vocabulary}: give the one that "
            "it was trained with"
        )
    ends = tokenizer.convert_tokens_to_ids([BEGIN, END])
    if list(ends) != [layout.vocabulary - 2, layout.vocabulary - 1]:
        raise UsageError(f"the tokenizer {name} has the tokens of begin and end at {ends}: it is none of CLIP's")
    return tokenizer
