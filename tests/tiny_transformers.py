"""Tiny models of transformers with random weights, written in the real format, for tests of what is built on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 32  # pixels of the images that the models read
DIMS = 8  # components of their vectors
WORDS = ("the", "river", "harbour", "trees", "two", "tennis", "courts", "beside", "forest", "many", "ships")
CAPTIONS = ("two tennis courts beside the trees", "a harbour with many ships", "the river", "Forest.")
_SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def bpe_merges() -> list[str]:
    """Merges that make whole words of `WORDS`, in the order in which they apply."""
    found: list[str] = []
    for word in WORDS:
        symbols = [*word[:-1], f"{word[-1]}</w>"]
        while len(symbols) > 1:
            line = " ".join(symbols[:2])
            if line not in found:
                found.append(line)
            symbols = ["".join(symbols[:2]), *symbols[2:]]
    return found


def byte_symbols() -> list[str]:
    """The 256 visible characters that stand for bytes in a byte-level BPE, in the order of OpenAI's vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in shown] + [chr(256 + n) for n in range(256 - len(shown))]


def bpe_vocabulary() -> dict[str, int]:
    """Bytes, bytes at the end of a word, merges, begin and end."""
    symbols = byte_symbols()
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *(line.replace(" ", "") for line in bpe_merges())]
    return {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def write_bpe(folder: Path) -> Path:
    """The files of a CLIP tokenizer: vocab.json and merges.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(bpe_vocabulary()), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *bpe_merges()]) + "\n", encoding="utf-8")
    return folder


def write_clip(folder: Path, seed: int = 0, context: int = 24, size: int = SIZE, **vision: Any) -> Path:
    """A CLIP of 2 layers a tower, with image processor and tokenizer."""
    import transformers

    write_bpe(folder)
    last = len(bpe_vocabulary()) - 1
    config = transformers.CLIPConfig(
        text_config={
            **_SMALL,
            "vocab_size": last + 1,
            "max_position_embeddings": context,
            "bos_token_id": last - 1,
            "eos_token_id": last,
            "pad_token_id": last,
        },
        vision_config={**_SMALL, "image_size": size, "patch_size": 8, **vision},
        projection_dim=DIMS,
    )
    side = {"height": size, "width": size}
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=side)
    _write(folder, transformers.CLIPModel, config, processor, seed)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=context)
    tokenizer.save_pretrained(folder)
    return folder


def write_siglip(folder: Path, seed: int = 0, context: int = 12) -> Path:
    """A SigLIP of 2 layers a tower; its tokenizer knows whole words and makes no small letters."""
    import transformers

    config = transformers.SiglipConfig(
        text_config={**_SMALL, **_word_ids(), "max_position_embeddings": context, "projection_size": 16},
        vision_config={**_SMALL, "image_size": SIZE, "patch_size": 8},
    )
    processor = transformers.SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    _write(folder, transformers.SiglipModel, config, processor, seed)
    write_word_tokenizer(folder, context)
    return folder


def write_naflex(folder: Path, seed: int = 0, context: int = 12) -> Path:
    """A SigLIP 2 that reads images of any shape (NaFlex), as patches with their mask."""
    import transformers

    config = transformers.Siglip2Config(
        text_config={
            **_SMALL,
            **_word_ids(),
            "vocab_size": len(_gemma_vocabulary()),
            "max_position_embeddings": context,
            "projection_size": 16,
        },
        vision_config={**_SMALL, "patch_size": 8, "num_patches": 16},
    )
    processor = transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    _write(folder, transformers.Siglip2Model, config, processor, seed)
    _write_gemma_tokenizer(folder, context)
    return folder


def write_word_tokenizer(folder: Path, context: int) -> None:
    """A tokenizer of words that needs no sentencepiece, with an end token as SigLIP's has it."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=context,
        padding_side="right",
    )
    fast.save_pretrained(folder)


def _gemma_vocabulary() -> dict[str, int]:
    """Special tokens, letters, and what the merges of whole words make."""
    merged = [line.replace("</w>", "").replace(" ", "") for line in bpe_merges()]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *letters, *merged]
    return {word: number for number, word in enumerate(dict.fromkeys(words))}


def _write_gemma_tokenizer(folder: Path, context: int) -> None:
    """A tokenizer of SigLIP 2's class: letters and merges, an end token, no beginning."""
    import transformers
    from tokenizers import processors

    merges = [tuple(line.replace("</w>", "").split(" ")) for line in bpe_merges()]
    tokenizer = transformers.Siglip2Tokenizer(
        vocab=_gemma_vocabulary(), merges=merges, model_max_length=context, padding_side="right"
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer.save_pretrained(folder)


def chips(n: int = 5, *, bands: int = 3, size: int = 40, seed: int = 0) -> np.ndarray:
    """Images (n, bands, size, size) of random blocks of colour, uint8."""
    small = np.random.default_rng(seed).integers(0, 255, (n, bands, 5, 5), dtype=np.uint8)
    return small.repeat(size // 5, axis=2).repeat(size // 5, axis=3)


def _word_ids() -> dict[str, int]:
    return {"vocab_size": 3 + len(WORDS), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}


def _write(folder: Path, kind: Any, config: Any, processor: Any, seed: int) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
        with torch.no_grad():
            # Fresh weights are so small that all vectors are nearly one: larger ones tell images and texts apart.
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
