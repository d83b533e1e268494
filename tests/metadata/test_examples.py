"""Examples in table map files are true: a plain reading of the map's rows gives the counterpart from the record."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus import solutions
from isthmus.metadata.table_map import Example, FieldMapping, TableMap

MAPS = [table_map for table_map in solutions.catalog().table_maps.values() if table_map.examples]
CASES = [(table_map, example) for table_map in MAPS for example in table_map.examples]
NAMES = [f"{table_map.name} to {example.to}" for table_map, example in CASES]
COMPANY = "cdm_companycode"


def test_important_maps_have_examples() -> None:
    assert len(MAPS) >= 12
    assert {example.to for _, example in CASES} == {"dataverse", "finops"}


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def carried(row: FieldMapping, value: Any, *, to_dataverse: bool) -> Any:
    """The value as the other half holds it, as text where a value map is in between."""
    value_map = row.transform.value_map
    if value_map is None:
        return value
    pairs = value_map.items() if to_dataverse else [(there, here) for here, there in value_map.items()]
    return next(there for here, there in pairs if here.lower() == as_text(value).lower())


def counterpart(table_map: TableMap, example: Example) -> dict[str, Any]:
    """What the rows of the map make of the record given."""
    to_dataverse = example.to == "dataverse"
    record = (example.finops if to_dataverse else example.dataverse) or {}
    given = {name.lower(): value for name, value in record.items()}
    found: dict[str, Any] = {}
    for row in table_map.rows:
        source, destination = (row.finops, row.dataverse) if to_dataverse else (row.dataverse, row.finops)
        if not (row.to_dataverse if to_dataverse else row.to_finops) or destination is None:
            continue
        if source is not None and source.lower() in given:
            found[destination.lower()] = carried(row, given[source.lower()], to_dataverse=to_dataverse)
        elif row.transform.default is not None and source is None:
            found[destination.lower()] = row.transform.default
    company = next((value for name, value in given.items() if name == "dataareaid" or name.endswith(COMPANY)), None)
    key = next((path for path in table_map.integration_key if path.endswith(COMPANY)), None)
    if company is not None and key is not None and "." in key:
        found[key if to_dataverse else "dataareaid"] = company
    return found


@pytest.mark.parametrize(("table_map", "example"), CASES, ids=NAMES)
def test_example(table_map: TableMap, example: Example) -> None:
    expected = (example.dataverse if example.to == "dataverse" else example.finops) or {}
    found = counterpart(table_map, example)
    assert found.keys() == {name.lower() for name in expected}
    for name, value in expected.items():
        assert _same(found[name.lower()], value), name


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        return float(found) == float(expected)
    return as_text(found) == as_text(expected)
