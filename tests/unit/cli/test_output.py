"""What tables on a terminal look like."""

from __future__ import annotations

import io

from placevec.cli.output import Form, emit


def table(*records: dict[str, object]) -> str:
    stream = io.StringIO()
    emit(records, Form.table, out=stream)
    return stream.getvalue()


def test_ids_and_heads_are_whole_in_a_narrow_table() -> None:
    facts = {"region": "Toribona 66%", "lon": 14.29, "lat": 43.95, "within 25 km": "36%", "80% radius km": 157.0}
    said = table(
        *({"id": f"photo-{n:06}.jpg", **facts, "80% region km²": "16,112", "error km": 14.6} for n in range(3))
    )
    lines = said.splitlines()
    assert sum("photo-00000" in line for line in lines) == 3
    for word in ("photo-000002.jpg", "Toribona 66%", "16,112", "radius", "region", "error", "14.6"):
        assert word in said
    assert max(len(line) for line in lines) <= 80


def test_heads_stay_in_one_line_where_there_is_room() -> None:
    assert "largest km" in table({"region": "a", "largest km": 3}, {"region": "b", "largest km": 4})


def test_one_record_of_many_facts_is_a_list() -> None:
    said = table({f"fact{n}": {"value": "x" * 30} for n in range(12)})
    lines = [line.split() for line in said.splitlines() if line.strip()]
    assert [line[0] for line in lines] == [f"fact{n}" for n in range(12)]
