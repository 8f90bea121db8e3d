import pytest

from placevec.provenance import Space, TableMeta
from placevec.table.blocks import block_records, blocks_of

GOOD = [{"name": "query", "start": 0, "stop": 3, "weight": 0.5}, {"name": "soft", "start": 3, "stop": 8, "weight": 2.0}]


def meta(blocks) -> TableMeta:
    return TableMeta(Space.mint(8), recipe={"blocks": blocks})


def test_the_blocks_of_a_recipe() -> None:
    assert blocks_of(meta(GOOD)) == (("query", 0, 3), ("soft", 3, 8))
    assert block_records(meta(GOOD))[1]["weight"] == 2.0
    again = TableMeta.from_footer(meta(GOOD).to_footer())
    assert blocks_of(again) == blocks_of(meta(GOOD))


@pytest.mark.parametrize(
    "blocks",
    [
        None,
        4,
        "soft",
        [],
        [64, 128],
        GOOD[:1],
        GOOD[1:],
        [GOOD[1], GOOD[0]],
        [*GOOD, {"name": "more", "start": 8, "stop": 9}],
        [GOOD[0], {"name": "soft", "start": 2, "stop": 8}],
        [GOOD[0], {"name": "soft", "start": 3, "stop": 3}, {"name": "rest", "start": 3, "stop": 8}],
        [{"name": 1, "start": 0, "stop": 8}],
        [{"name": "all", "start": 0}],
    ],
    ids=str,
)
def test_what_are_no_blocks_of_its_columns(blocks) -> None:
    assert blocks_of(meta(blocks)) == ()


def test_a_table_without_any() -> None:
    assert blocks_of(TableMeta(Space.mint(8))) == ()
