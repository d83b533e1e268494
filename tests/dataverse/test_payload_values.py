"""Whatever JSON a body holds, it is taken or refused: never anything else."""

from __future__ import annotations

import pytest

from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.dataverse.behaviour.values import check_values
from isthmus.dataverse.rows import as_json
from isthmus.dataverse.webapi.payload import decode_body, read_payload
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog

VALUES = [
    *("null", "true", "1", "-1", "1.5", "2147483648", "9223372036854775808", "-9223372036854775809"),
    *("1e400", "1e999999999", "-1e-999999999", "9" * 400, "9" * 5000),
    *('""', '"x"', '"NaN"', '"Infinity"', '"1e5"', '"1,2"', '"\\u0000"', '"\\ud800"', '"' + "x" * 200_000 + '"'),
    *('"2024-01-01"', '"2024-13-01"', '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"'),
    *('"11111111-2222-4333-8444-555555555555"', "[]", "{}", "[1,2]", '{"a":1}', '"\'; drop table x; --"'),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:20])
@pytest.mark.parametrize("form", ["{}", "_{}_value", "{}@odata.bind"])
def test_every_value_in_every_column(catalog: Catalog, form: str, value: str) -> None:
    for name in ("account", "contact", "cdm_company", "systemuser"):
        table = catalog.table(name)
        for column in table.columns:
            body = f'{{"{form.format(column.name)}":{value}}}'
            try:
                payload = read_payload(catalog, table, decode_body(body.encode()))
                row = Row(values=payload.values)
                check_values(table, Message(operation=Operation.CREATE, table=name, rows=[row]))
            except Rejected as error:
                assert (
                    error.message.endswith((".", "}")) or "Accepted Values" in error.message or "JSON" in error.message
                )
            else:
                assert as_json([row.values])
