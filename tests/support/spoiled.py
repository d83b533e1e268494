"""Helpers that spoil one thing in the shipped catalog and check what is said of it."""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus.dual_write.calculated import LANGUAGES
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check import Report, report
from isthmus.metadata.table_map import TableMap

ACCOUNTS = "accounts - Customers V3"
ACCOUNTS_FILE = "party_and_global_address_book/table_maps/CustomersV3-accounts.toml"


class Spoiled:
    """A catalog to be spoilt: each method gives the report on a copy with one thing changed."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def table_map_with(self, name: str = ACCOUNTS, **changes: Any) -> Report:
        """The report after changing fields of a table map."""
        return self.component("table_maps", name, **changes)

    def row(self, of: str | None, /, *, name: str = ACCOUNTS, **changes: Any) -> Report:
        """The report after changing the field mapping of one F&O field."""
        rows = tuple(
            msgspec.structs.replace(row, **changes) if row.finops == of else row for row in self.table_map(name).rows
        )
        return self.table_map_with(name, rows=rows)

    def without_row(self, of: str, /, *, name: str = ACCOUNTS) -> Report:
        """The report after removing the field mapping of one F&O field."""
        rows = self.table_map(name).rows
        return self.table_map_with(name, rows=tuple(row for row in rows if row.finops != of))

    def component(self, kind: str, name: str, **changes: Any) -> Report:
        """The report after changing fields of one component."""
        components = getattr(self.catalog, kind)
        changed = {**components, name: msgspec.structs.replace(components[name], **changes)}
        return self.catalog_with(**{kind: changed})

    def catalog_with(self, **changes: Any) -> Report:
        """The report after changing fields of the catalog."""
        return check(msgspec.structs.replace(self.catalog, **changes))

    def table_map(self, name: str = ACCOUNTS) -> TableMap:
        """A table map of the shipped catalog."""
        return self.catalog.table_maps[name]


def check(catalog: Catalog) -> Report:
    """The report on a catalog, with the product's own parsers."""
    return report(catalog, LANGUAGES)


def only(found: Report) -> tuple[str, str, int | None, str]:
    """Code, file, row and field of the one fault there is."""
    assert len(found.faults) == 1, found.text
    fault = found.faults[0]
    assert fault.message.endswith("."), "a message is a sentence"
    return fault.code, fault.file, fault.row, fault.field
