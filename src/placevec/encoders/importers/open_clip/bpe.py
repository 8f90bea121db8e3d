"""OpenAI's list of merges (`bpe_simple_vocab_16e6.txt.gz`) as the two files of a CLIP tokenizer.

The vocabulary follows from the merges: the 256 bytes, each as a visible character, the same at the end of a word,
what each merge makes, and the tokens of begin and end. The list holds more merges than a model knows: as many are
taken as its vocabulary has room for.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from placevec import files
from placevec.errors import DataError

END_OF_WORD = "</w>"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
FIXED = 2 * 256 + 2  # tokens that are no merges


def byte_characters() -> list[str]:
    """The 256 characters that stand for bytes, in the order of the vocabulary.

    Bytes that Latin-1 shows stand for themselves and come first; the others, which are blanks and controls, follow in
    their order as the characters from number 256 on.
    """
    shown = [byte for byte in range(256) if chr(byte).isprintable() and not chr(byte).isspace()]
    return [chr(byte) for byte in shown] + [chr(256 + place) for place in range(256 - len(shown))]


def vocabulary(merges: list[str]) -> dict[str, int]:
    """The number of every token; `merges` are lines of two symbols, in the order in which they apply."""
    alone = byte_characters()
    joined = [line.replace(" ", "") for line in merges]
    words = [*alone, *(symbol + END_OF_WORD for symbol in alone), *joined, BEGIN, END]
    return {word: number for number, word in enumerate(words)}


def read_merges(path: Path, size: int) -> list[str]:
    """The merges of a vocabulary of `size` tokens, from a plain or gzipped file.

    Raises:
        DataError: the file cannot be read, is no list of merges, or has too few for that vocabulary.
    """
    try:
        data = path.read_bytes()
        lines = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of merges ({error}): fetch it again") from None
    if lines and "#version" in lines[0]:
        lines = lines[1:]
    found = lines[: size - FIXED]
    for line in found:
        if len(line.split(" ")) != 2:
            raise DataError(f"{path} is no list of merges: a line of it is {line[:40]!r}, not two symbols")
    if len(found) < size - FIXED:
        raise DataError(
            f"{path} has {len(found)} merges, which make {len(found) + FIXED} tokens; the checkpoint has {size}: give "
            "the tokenizer that it was trained with"
        )
    return found


def write_tokenizer(folder: Path, merges: list[str]) -> None:
    """Write vocab.json and merges.txt into `folder`."""
    text = json.dumps(vocabulary(merges), ensure_ascii=False)
    files.write_text(folder / "vocab.json", text)
    files.write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
