"""Cards of stores, and what may be loaded over what."""

import pytest

from placevec.errors import FormatError, SpaceMismatch, StaleIndex, UsageError
from placevec.index.stores import StoreCard, admit, admit_removal, belongs
from placevec.provenance import Space
from placevec.table import EmbeddingTable
from placevec.testing.index import sample_table

TABLE = sample_table(20)
CARD = StoreCard.of(TABLE, complete=True, schema="x")


def test_a_card_reads_what_it_wrote() -> None:
    assert StoreCard.from_json(CARD.to_json()) == CARD
    assert CARD.details == {"schema": "x"}
    assert CARD.made.endswith("+00:00")


@pytest.mark.parametrize("damage", [{"version": 99}, {"space": 3}, {"rows": "many"}, {"version": None}])
def test_a_card_that_cannot_be_read(damage) -> None:
    with pytest.raises(FormatError):
        StoreCard.from_json({**CARD.to_json(), **damage})


def test_what_may_be_loaded_over_what() -> None:
    admit(None, TABLE, "qdrant://h/x")
    admit(CARD, TABLE, "qdrant://h/x")
    with pytest.raises(SpaceMismatch, match=r"qdrant://h/x.*--replace"):
        admit(CARD, EmbeddingTable(TABLE.data, TABLE.meta.replace(space=Space.mint(12))), "qdrant://h/x")
    with pytest.raises(UsageError, match="tower"):
        admit(CARD, EmbeddingTable(TABLE.data, TABLE.meta.replace(tower="text")), "qdrant://h/x")
    admit_removal(0, 0, "u")
    admit_removal(10, 5, "u")
    with pytest.raises(UsageError, match="only 4 are in the table"):
        admit_removal(10, 6, "u")


def test_which_table_a_store_serves() -> None:
    assert belongs(CARD, TABLE, "u") == CARD
    with pytest.raises(UsageError, match="nothing at u"):
        belongs(None, TABLE, "u")
    with pytest.raises(StaleIndex, match="cut short"):
        belongs(StoreCard.of(TABLE, complete=False), TABLE, "u")
    with pytest.raises(StaleIndex, match="20 rows, the table has 19"):
        belongs(CARD, TABLE.take(range(19)), "u")
    with pytest.raises(StaleIndex, match="another state"):
        belongs(CARD, TABLE.with_column("elevation", TABLE.column("elevation") + 1), "u")
    with pytest.raises(SpaceMismatch):
        belongs(CARD, EmbeddingTable(TABLE.data, TABLE.meta.replace(space=Space.mint(12))), "u")
