"""Validation of one table map: the published codes, and whether its legs compile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from isthmus.dual_write.calculated import LANGUAGES
from isthmus.dual_write.leg_to_dataverse import compile_to_dataverse
from isthmus.dual_write.leg_to_finops import compile_to_finops
from isthmus.errors import Rejected
from isthmus.finops.data_sources import Compiled
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check import Fault, table_map_faults, table_map_warnings
from isthmus.metadata.table_map import TableMap


class Validation(msgspec.Struct, frozen=True):
    """What a check of one table map found; it can be saved and run when there are no faults."""

    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...] = ()


def validate(table_map: TableMap, catalog: Catalog) -> Validation:
    """Hold a definition against the catalog, with the published codes, and compile both of its legs."""
    faults = table_map_faults(catalog, table_map, LANGUAGES)
    return Validation(faults or tuple(_uncompilable(table_map, catalog)), table_map_warnings(catalog, table_map))


def refuse_faults(table_map: TableMap, faults: Sequence[Fault]) -> None:
    """Rejected (`table_map_invalid`) with the faults in its details, if there are any."""
    if faults:
        listed = "; ".join(f"{fault.code} {fault.field} {fault.message}" for fault in faults[:5])
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise Rejected(
            f"Table map '{table_map.name}' has faults and is not taken: {listed}{more}",
            code="table_map_invalid",
            table_map=table_map.name,
            faults=[msgspec.to_builtins(fault) for fault in faults],
        )


def _uncompilable(table_map: TableMap, catalog: Catalog) -> Iterable[Fault]:
    """What only shows when the legs are compiled: a filter that compares a field with a value of another type."""
    sources = Compiled(catalog)[table_map.entity]
    for compile_leg in (compile_to_dataverse, compile_to_finops):
        try:
            compile_leg(table_map, catalog, sources)
        except Rejected as error:
            yield Fault(file=table_map.file, code=error.code, message=error.message)
