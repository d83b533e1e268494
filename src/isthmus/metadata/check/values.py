"""Rules for values that cross: types of both ends, value maps and defaults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check.fault import Fault
from isthmus.metadata.check.mapped import Mapped, MappedRow
from isthmus.metadata.table import Column
from isthmus.metadata.types import ColumnType, FieldType

_TEXT = frozenset(type_ for type_ in ColumnType if type_.is_text)
_NUMBER = frozenset(type_ for type_ in ColumnType if type_.is_number)
_TIME = frozenset({ColumnType.DATE_TIME})
_COUNTERPARTS: dict[FieldType, frozenset[ColumnType]] = {
    FieldType.STRING: _TEXT,
    FieldType.ENUM: _TEXT,
    FieldType.INT: _NUMBER | _TEXT,
    FieldType.INT64: _NUMBER | _TEXT,
    FieldType.REAL: _NUMBER,
    FieldType.TIME: _NUMBER,
    FieldType.DATE: _TIME,
    FieldType.DATE_TIME: _TIME,
    FieldType.GUID: frozenset({ColumnType.UNIQUE_IDENTIFIER}) | _TEXT,
    FieldType.BOOLEAN: frozenset({ColumnType.BOOLEAN}),
    FieldType.BINARY: frozenset({ColumnType.FILE, ColumnType.IMAGE}),
}
"""Column types that hold a field's value as it is; an enum crosses as its symbol. Everything else needs a value map."""

_MAPPABLE = frozenset({ColumnType.BOOLEAN, ColumnType.PICKLIST, ColumnType.STATE, ColumnType.STATUS}) | _TEXT


def types_match(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1030: a value fits both ends, as it is or through a value map."""
    for row in mapped.rows:
        if row.field is None or row.path is None:
            continue
        leaf = row.path.leaf
        if row.mapping.transform.to_dataverse is not None or row.mapping.transform.to_finops is not None:
            continue
        if row.mapping.transform.value_map is not None:
            if leaf.type not in _MAPPABLE or row.field.type not in (
                FieldType.ENUM,
                FieldType.STRING,
                FieldType.BOOLEAN,
            ):
                message = f"is {row.field.type} and {leaf.name} {leaf.type}: no place for a value map; drop it."
                yield mapped.fault("DIPV1030", message, row, row.field.name)
        elif leaf.type not in _COUNTERPARTS[row.field.type]:
            message = f"is {row.field.type} and {leaf.name} {leaf.type}; map columns of like type, or add a value map."
            yield mapped.fault("DIPV1030", message, row, row.field.name)


def value_maps_are_unambiguous(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1029: no F&O value occurs twice, whatever its case, and no Dataverse value where the row writes F&O."""
    for row in mapped.rows:
        value_map = row.mapping.transform.value_map or {}
        keys = Counter(key.lower() for key in value_map)
        values = Counter(value.lower() for value in value_map.values()) if row.mapping.to_finops else Counter[str]()
        for value in [*(key for key, n in keys.items() if n > 1), *(value for value, n in values.items() if n > 1)]:
            message = f"has '{value}' twice in its value map; one of them would never be used."
            yield mapped.fault("DIPV1029", message, row, row.mapping.finops or "")


def value_map_options_exist(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1030: what a value map or default gives is a value of the destination."""
    for row in mapped.rows:
        transform = row.mapping.transform
        if row.path is not None:
            given = [*(transform.value_map or {}).values()]
            if transform.fixed is not None and row.mapping.to_dataverse:
                given.append(transform.fixed)
            for value in given:
                if not _is_value_of(row.path.leaf, value):
                    message = f"gets '{value}', which is none of its values; correct it or add the option."
                    yield mapped.fault("DIPV1030", message, row, row.path.leaf.name)


def _is_value_of(column: Column, value: str) -> bool:
    if column.type is ColumnType.BOOLEAN:
        return value in ("true", "false")
    if column.type.is_choice:
        return value.lstrip("-").isdigit() and int(value) in {option.value for option in column.options}
    if column.type.is_number:
        return _is_number(value)
    return True


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def defaults_are_members(catalog: Catalog, mapped: Mapped) -> Iterator[Fault]:
    """DIPV1030: the default of an enum field is a member of the enum."""
    for row in mapped.to_finops:
        default, field = row.mapping.transform.fixed, row.field
        if default is None or field is None or field.enum is None or row.mapping.to_dataverse:
            continue
        enum = catalog.enums.get(field.enum)
        if enum is not None and enum.value_of(default) is None:
            message = f"gets the default '{default}', which is no member of {field.enum}; correct it."
            yield mapped.fault("DIPV1030", message, row, field.name)


def value_map_symbols_exist(catalog: Catalog, mapped: Mapped) -> Iterator[Fault]:
    """A value map names a value that the enum has not: it can never occur. A warning; shipped maps have two."""
    for row in mapped.rows:
        for symbol in _unknown_symbols(catalog, row):
            name = row.field.name if row.field is not None else ""
            message = f"maps '{symbol}', which is no member of its enum; the pair is never used."
            yield mapped.fault("value_map_symbol", message, row, name)


def _unknown_symbols(catalog: Catalog, row: MappedRow) -> list[str]:
    if row.field is None or row.field.enum is None:
        return []
    enum = catalog.enums.get(row.field.enum)
    if enum is None:
        return []
    return [symbol for symbol in row.mapping.transform.value_map or {} if enum.value_of(symbol) is None]
