"""The dependency graph: parents first, cycles and self-references named, the sequence that enables a map."""

from __future__ import annotations

import msgspec
import pytest

from isthmus import solutions
from isthmus.dual_write.dependencies import (
    cycles,
    dependencies,
    enable_order,
    graph,
    prerequisite_sequences,
    reach,
    self_references,
)
from isthmus.errors import NotFound
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import FieldMapping

CATALOG = solutions.catalog()
CUSTOMERS = "accounts - Customers V3"
VENDORS = "msdyn_vendors - Vendors V2"
VENDOR_GROUPS = "msdyn_vendorgroups - Vendor groups"
COMPANIES = "cdm_companies - Legal entities"
ORDER_LINES = "salesorderdetails - CDS sales order lines"


def with_row(catalog: Catalog, name: str, row: FieldMapping) -> Catalog:
    """The catalog with one more field mapping in a table map."""
    table_map = catalog.table_maps[name]
    changed = msgspec.structs.replace(table_map, rows=(*table_map.rows, row))
    return msgspec.structs.replace(catalog, table_maps={**catalog.table_maps, name: changed})


def test_nodes_carry_state_and_an_order_that_has_parents_first() -> None:
    found = graph(CATALOG, {CUSTOMERS: "running"})
    assert [node.order for node in found.nodes] == list(range(135))
    states = {node.table_map: node.state for node in found.nodes}
    assert (states[CUSTOMERS], states[VENDORS]) == ("running", "not_running")
    order = {node.table_map: node.order for node in found.nodes}
    assert len(found.edges) > 300
    assert all(order[edge.needs] < order[edge.table_map] for edge in found.edges)


def test_an_edge_says_which_lookup_it_is_and_how_far_it_reaches() -> None:
    edges = {(edge.needs, edge.path, edge.hop) for edge in graph(CATALOG, {}).edges if edge.table_map == ORDER_LINES}
    assert ("salesorders - CDS sales order headers", "salesorderid.msdyn_salesordernumber", 1) in edges
    hierarchies = "msdyn_productcategoryhierarchies - Product category hierarchies"
    assert (hierarchies, "msdyn_salesproductcategory.msdyn_hierarchy.msdyn_name", 2) in edges
    assert (COMPANIES, "msdyn_company", 1) in edges


def test_self_references_name_the_field() -> None:
    found = {(reference.table_map, reference.column): reference.field for reference in self_references(CATALOG)}
    assert found[CUSTOMERS, "msdyn_billingaccount"] == "INVOICEACCOUNT"
    assert found[VENDORS, "msdyn_invoicevendoraccountnumber"] == "INVOICEVENDORACCOUNTNUMBER"
    assert len(found) == 10


def test_maps_that_need_each_other_are_a_cycle() -> None:
    assert cycles(CATALOG) == ()
    row = FieldMapping(
        finops="DESCRIPTION", arrow=">", dataverse="msdyn_defaultvendor.msdyn_vendoraccountnumber", row=99
    )
    table = CATALOG.tables["msdyn_vendorgroup"]
    lookup = next(column for column in table.columns if column.type.is_lookup and column.name == "msdyn_company")
    column = msgspec.structs.replace(lookup, name="msdyn_defaultvendor", targets=("msdyn_vendor",))
    table = msgspec.structs.replace(table, columns=(*table.columns, column))
    catalog = msgspec.structs.replace(CATALOG, tables={**CATALOG.tables, table.logical_name: table})
    catalog = with_row(catalog, VENDOR_GROUPS, row)
    assert {frozenset(cycle) for cycle in cycles(catalog)} == {frozenset({VENDOR_GROUPS, VENDORS})}
    rings = {node.table_map: node.cycle for node in graph(catalog, {}).nodes}
    assert rings[VENDORS] == rings[VENDOR_GROUPS] == 0
    assert rings[CUSTOMERS] is None
    assert sorted(enable_order(catalog).values()) == list(range(135))


def test_a_prerequisite_sequence_holds_all_that_a_map_needs_in_order_and_itself_last() -> None:
    order, needs = enable_order(CATALOG), dependencies(CATALOG)
    first, second = prerequisite_sequences([CUSTOMERS, COMPANIES], CATALOG)
    assert second == [COMPANIES]
    assert first[-1] == CUSTOMERS
    assert set(first) == reach([CUSTOMERS], needs) | {CUSTOMERS}
    assert [order[name] for name in first] == sorted(order[name] for name in first)
    assert all(set(needs[name]) <= set(first) for name in first)


def test_an_unknown_map_is_named() -> None:
    with pytest.raises(NotFound, match="no such map"):
        prerequisite_sequences(["no such map"], CATALOG)
