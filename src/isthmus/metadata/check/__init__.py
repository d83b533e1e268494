"""Cross-checks of a catalog: one function per rule; faults carry file, row, field, a code and what to do.

Filters and expressions are read by parsers of a higher floor, so the caller hands them in.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check import entities, filters, keys, table_maps, tables, transforms, values
from isthmus.metadata.check.fault import Fault, Report
from isthmus.metadata.check.filters import Parser
from isthmus.metadata.check.mapped import Mapped, resolve, resolve_one
from isthmus.metadata.check.transforms import ExpressionFaults
from isthmus.metadata.table_map import TableMap

__all__ = ["Fault", "Languages", "Parser", "Report", "report", "table_map_faults", "table_map_warnings"]

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
    transforms.arrows_tell_transforms,
    transforms.truncation_has_a_place,
    transforms.keys_cross_unchanged,
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


class Languages(msgspec.Struct, frozen=True):
    """The parsers of what definitions are written in.

    `parse_range` reads an X++ query range and `parse_filter` an OData filter; each gives the names of the fields used
    and raises Rejected for text it can't read. `expression_faults` says what is wrong with the expressions of a row.
    """

    parse_range: Parser
    parse_filter: Parser
    expression_faults: ExpressionFaults


def report(catalog: Catalog, languages: Languages) -> Report:
    """Check everything in `catalog`."""
    maps, faults = resolve(catalog)
    for rule in _RULES_OF_THE_CATALOG:
        faults += rule(catalog)
    for mapped in maps:
        faults += _faults_of_map(catalog, mapped, languages)
    warnings = [fault for mapped in maps for fault in values.value_map_symbols_exist(catalog, mapped)]
    return Report(counts=_counts(catalog), faults=tuple(sorted(faults, key=_order)), warnings=tuple(warnings))


def table_map_faults(catalog: Catalog, table_map: TableMap, languages: Languages) -> tuple[Fault, ...]:
    """Check one table map, which the catalog need not have."""
    mapped = resolve_one(catalog, table_map)
    faults = _faults_of_map(catalog, mapped, languages) if isinstance(mapped, Mapped) else mapped
    return tuple(sorted(faults, key=_order))


def table_map_warnings(catalog: Catalog, table_map: TableMap) -> tuple[Fault, ...]:
    """What looks wrong in one table map and does no harm."""
    mapped = resolve_one(catalog, table_map)
    return tuple(values.value_map_symbols_exist(catalog, mapped)) if isinstance(mapped, Mapped) else ()


def _faults_of_map(catalog: Catalog, mapped: Mapped, languages: Languages) -> Iterator[Fault]:
    for rule in _RULES_OF_A_MAP:
        yield from rule(mapped)
    for rule_in_catalog in _RULES_OF_A_MAP_IN_ITS_CATALOG:
        yield from rule_in_catalog(catalog, mapped)
    yield from filters.finops_filter_is_legal(mapped, languages.parse_range)
    yield from filters.dataverse_filter_is_legal(mapped, languages.parse_filter)
    yield from transforms.expressions_are_legal(catalog, mapped, languages.expression_faults)


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
