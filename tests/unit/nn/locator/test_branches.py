"""Further inputs: what is missing has no effect at all, what is there has one, broken input is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from placevec.errors import DataError
from placevec.nn.locator import HeadConfig, LocationConfig, LocatorHead, MetadataConfig, TagsConfig
from placevec.nn.text import TextConfig

ROWS, DIMS = 6, 16
CONFIG = HeadConfig(
    dims=DIMS,
    branches=(
        MetadataConfig(hidden=8),
        TagsConfig(hidden=8, net=TextConfig(buckets=500, width=8, capacity=8, max_tokens=20)),
        LocationConfig(hidden=8),
    ),
)


def head(config: HeadConfig = CONFIG) -> LocatorHead:
    torch.manual_seed(0)
    return LocatorHead(config, [10], [3, 2], torch.full((5,), 5000.0)).eval()


def columns(known: np.ndarray) -> dict[str, np.ndarray]:
    """All inputs for the rows that are `known`, nothing for the others."""
    rng = np.random.default_rng(0)
    tags = np.array([f"river bridge {i}" if there else "" for i, there in enumerate(known)], dtype=object)
    metadata = np.where(known[:, None], rng.normal(size=(ROWS, 6)), np.nan).astype(np.float32)
    location = np.column_stack([rng.uniform(60, 70, ROWS), rng.uniform(20, 30, ROWS), np.full(ROWS, 5e4)])
    return {"metadata": metadata, "tags": tags, "location": np.where(known[:, None], location, np.nan)}


def test_missing_inputs_have_no_effect_at_all() -> None:
    made, features = head(), [torch.randn(ROWS, 10)]
    plain = made.fuse(features)
    nothing = columns(np.zeros(ROWS, dtype=bool))
    assert torch.equal(made.fuse(features, made.extras(nothing)), plain)
    known = np.array([True, False, True, False, False, True])
    mixed = made.fuse(features, made.extras(columns(known)))
    assert torch.equal(mixed[~known], plain[~known])
    assert (mixed[known] != plain[known]).any(dim=1).all()
    for kind in nothing:
        alone = made.fuse(features, made.extras({kind: columns(known)[kind]}))
        assert torch.equal(alone[~known], plain[~known])
        assert not torch.equal(alone[known], plain[known])


def test_missing_inputs_give_no_gradient_and_known_ones_do() -> None:
    made = head()
    for known, moved in ((False, False), (True, True)):
        made.zero_grad()
        made.fuse([torch.randn(ROWS, 10)], made.extras(columns(np.full(ROWS, known)))).sum().backward()
        for name, parameter in made.joins.named_parameters():
            if "unknown" in name:
                continue  # learns from gaps only
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert bool(parameter.grad.any()) is moved, name


def test_a_gap_in_the_metadata_is_not_zero() -> None:
    made, features = head(), [torch.randn(1, 10)]
    row = np.array([[0.1, 0.9, 0.0, 1.0, 3.3, 0.5]], dtype=np.float32)
    zero, gap = row.copy(), row.copy()
    zero[0, 4], gap[0, 4] = 0.0, np.nan
    found = [made.fuse(features, made.extras({"metadata": each})) for each in (row, zero, gap)]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    with torch.no_grad():
        made.joins["metadata"].net.unknown[4] = 3.3
    assert not torch.equal(made.fuse(features, made.extras({"metadata": gap})), found[0])  # it is still said to be one


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30])
def test_broken_numbers_do_not_break_the_vector(value: float) -> None:
    made = head()
    row = np.full((1, 6), value, dtype=np.float32)
    assert made.fuse([torch.randn(1, 10)], made.extras({"metadata": row})).isfinite().all()


def test_an_unknown_error_of_a_position_is_an_input_of_its_own() -> None:
    made, features = head(), [torch.randn(1, 10)]
    at = np.array([[65.0, 25.0, 1e4]])
    found = [
        made.fuse(features, made.extras({"location": np.array([[65.0, 25.0, error]])})) for error in (1e4, 1e5, np.nan)
    ]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(found[2], made.fuse(features, made.extras({"location": at[:, :2]})))


def test_training_withholds_inputs_from_some_images() -> None:
    config = HeadConfig(dims=DIMS, branches=(MetadataConfig(dropout=0.0, withheld=0.5),))
    made = head(config).train()
    features = [torch.randn(1, 10).expand(400, 10)]
    given = made.extras({"metadata": np.ones((400, 6), dtype=np.float32)})
    plain = made.fuse(features)
    share = float((made.fuse(features, given) == plain).all(dim=1).float().mean())
    assert 0.4 < share < 0.6
    assert not (made.eval().fuse(features, given) == plain).all(dim=1).any()


def test_tags_are_learned() -> None:
    """An image without any sign of its place is located by its tags; those without tags are not."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    town = rng.integers(0, 4, 300)
    names = np.array(["Alba, sea", "Bergen harbour", "corvo", "Delft"])
    tags = np.where(rng.random(300) < 0.8, names[town], "").astype(object)
    made = head(HeadConfig(dims=DIMS, dropout=0.0, branches=(TagsConfig(hidden=16, withheld=0.0),)))
    ends = torch.nn.Linear(DIMS, 4)
    optimiser = torch.optim.Adam([*made.parameters(), *ends.parameters()], lr=0.01)
    features, given, target = [torch.zeros(300, 10)], made.extras({"tags": tags}), torch.from_numpy(town)
    for _ in range(60):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(ends(made.fuse(features, given)), target)
        loss.backward()
        optimiser.step()
    right = ends(made.fuse(features, given)).argmax(dim=1) == target
    tagged = torch.from_numpy(tags != "")
    assert float(right[tagged].float().mean()) > 0.95
    assert float(right[~tagged].float().mean()) < 0.6


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("metadata", np.zeros((3, 5), dtype=np.float32)),
        ("metadata", np.array([["a"] * 6] * 3)),
        ("metadata", np.zeros(3)),
        ("tags", np.array([1, 2, 3], dtype=object)),
        ("location", np.zeros((3, 4))),
    ],
)
def test_columns_of_another_form(kind: str, column: np.ndarray) -> None:
    with pytest.raises(DataError, match=kind if kind != "tags" else "not a text"):
        head().extras({kind: column})


def test_inputs_that_the_head_does_not_know() -> None:
    made = head(HeadConfig(dims=DIMS))
    assert made.extras(columns(np.ones(ROWS, dtype=bool))) == {}
    with pytest.raises(DataError, match="no branch for 'tags'; it has: none"):
        made.fuse([torch.randn(1, 10)], {"tags": torch.zeros(1, 3, dtype=torch.int64)})
