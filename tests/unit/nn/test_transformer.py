"""The transformer block, against one written without any cleverness."""

from __future__ import annotations

import pytest
import torch

from placevec.errors import UsageError
from placevec.nn.transformer import Attention, DropPath, TransformerBlock, check_width


def slow_attention(attention: Attention, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Head by head and position by position, for one row."""
    width = x.shape[1]
    size = width // attention.heads
    weight, bias = attention.qkv.weight, attention.qkv.bias
    q, k, v = (x @ weight[part : part + width].T + bias[part : part + width] for part in (0, width, 2 * width))
    out = torch.zeros_like(x)
    for head in range(attention.heads):
        at = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            seen = [j for j in range(len(x)) if keep[j]]
            scores = torch.stack([q[i, at] @ k[j, at] / size**0.5 for j in seen]).softmax(dim=0)
            out[i, at] = sum(scores[n] * v[j, at] for n, j in enumerate(seen))
    return out @ attention.out.weight.T + attention.out.bias


def test_attention_against_loops() -> None:
    torch.manual_seed(0)
    attention = Attention(12, 3, 0.5).eval()
    x = torch.randn(2, 5, 12)
    keep = torch.tensor([[True, True, True, False, False], [True] * 5])
    expected = torch.stack([slow_attention(attention, row, seen) for row, seen in zip(x, keep, strict=True)])
    torch.testing.assert_close(attention(x, keep), expected)
    torch.testing.assert_close(attention(x)[1], expected[1])


def test_a_block_is_two_branches_beside_its_input() -> None:
    torch.manual_seed(1)
    block = TransformerBlock(8, 2, 2.0, 0.3, 0.5).eval()
    x = torch.randn(2, 4, 8)
    middle = x + block.attention(block.norm1(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.norm2(middle)))


def test_what_may_not_be_looked_at_says_nothing() -> None:
    block = TransformerBlock(8, 2, 2.0, 0.0).eval()
    x = torch.randn(1, 4, 8)
    keep = torch.tensor([[True, True, False, True]])
    other = x.clone()
    other[0, 2] = 50.0
    torch.testing.assert_close(block(x, keep)[:, [0, 1, 3]], block(other, keep)[:, [0, 1, 3]])
    assert not torch.allclose(block(x)[:, 0], block(other)[:, 0])


def test_a_dropped_path_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    found = drop(x)
    assert found.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (found == found[:, :1, :1]).all()  # a row is left out whole
    assert abs(float(found.mean()) - 1) < 0.05
    assert torch.equal(drop.eval()(x), x)


def test_widths_that_do_not_share_out() -> None:
    check_width(12, 3)
    for width, heads in ((12, 5), (12, 0)):
        with pytest.raises(UsageError, match=f"heads = {heads}"):
            check_width(width, heads)
