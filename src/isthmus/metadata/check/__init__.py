"""Cross-checks of a catalog: one function per rule; faults carry file, row, field, a code and what to do.

Filters are read by parsers of a higher floor, so the caller hands them in.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check import entities, filters, keys, table_maps, tables, values
from isthmus.metadata.check.fault import Fault, Report
from isthmus.metadata.check.filters import Parser
from isthmus.metadata.check.mapped import Mapped, resolve

__all__ = ["Fault", "Parser", "Report", "report"]

_RULES_OF_THE_CATALOG = (
    tables.names_are_safe,
    tables.names_are_unique,
    tables.columns_are_complete,
    tables.keys_name_columns,
    tables.navigation_names_are_unique,
    entities.names_are_safe,
    entities.names_are_unique,
    entities.tables_are_complete,
    entities.data_sources_join,
    entities.fields_lie_on_sources,
)
_RULES_OF_A_MAP = (
    table_maps.table_has_versions,
    table_maps.companies_agree,
    table_maps.rows_have_both_ends,
    table_maps.arrows_tell_transforms,
    table_maps.destinations_are_written_once,
    table_maps.destinations_can_be_written,
    table_maps.mandatory_destinations_are_mapped,
    keys.entity_key_is_mapped,
    keys.key_goes_both_ways,
    keys.lookups_lead_to_one_row,
    values.types_match,
    values.value_maps_are_unambiguous,
    values.value_map_options_exist,
)
_RULES_OF_A_MAP_IN_ITS_CATALOG = (
    table_maps.fields_exist,
    keys.integration_key_is_a_key,
    keys.integration_key_is_mapped,
    values.defaults_are_members,
    filters.examples_are_well_formed,
)


def report(catalog: Catalog, parse_range: Parser, parse_filter: Parser) -> Report:
    """Check everything in `catalog`.

    `parse_range` reads an X++ query range and `parse_filter` an OData filter; each gives the names of the fields used
    and raises Rejected for text it can't read.
    """
    maps, faults = resolve(catalog)
    for rule in _RULES_OF_THE_CATALOG:
        faults += rule(catalog)
    for mapped in maps:
        faults += _faults_of_map(catalog, mapped, parse_range, parse_filter)
    warnings = [fault for mapped in maps for fault in values.value_map_symbols_exist(catalog, mapped)]
    return Report(counts=_counts(catalog), faults=tuple(sorted(faults, key=_order)), warnings=tuple(warnings))


def _faults_of_map(catalog: Catalog, mapped: Mapped, parse_range: Parser, parse_filter: Parser) -> Iterator[Fault]:
    for rule in _RULES_OF_A_MAP:
        yield from rule(mapped)
    for rule_in_catalog in _RULES_OF_A_MAP_IN_ITS_CATALOG:
        yield from rule_in_catalog(catalog, mapped)
    yield from filters.finops_filter_is_legal(mapped, parse_range)
    yield from filters.dataverse_filter_is_legal(mapped, parse_filter)


def _order(fault: Fault) -> tuple[str, int, str]:
    return fault.file, fault.row or 0, fault.code


def _counts(catalog: Catalog) -> dict[str, int]:
    return {
        "maps": len(catalog.table_maps),
        "rows": sum(len(table_map.rows) for table_map in catalog.table_maps.values()),
        "Dataverse tables": len(catalog.tables),
        "columns": sum(len(table.columns) for table in catalog.tables.values()),
        "relationships": len(catalog.one_to_many) + len(catalog.many_to_many),
        "data entities": len(catalog.entities),
        "fields": sum(len(entity.fields) for entity in catalog.entities.values()),
        "F&O tables": len(catalog.finops_tables),
        "enums": len(catalog.enums),
        "number sequences": len(catalog.number_sequences),
    }
