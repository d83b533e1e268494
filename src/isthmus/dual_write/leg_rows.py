"""The rows that the records of a leg stand on, at its source."""

from __future__ import annotations

from isthmus.apps.principal import Half
from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.leg import Leg
from isthmus.finops.data_sources import table_sql_name
from isthmus.metadata.catalog import Catalog
from isthmus.query.quoting import quote_identifier

ID_TYPES: dict[Half, str] = {"dataverse": "uuid", "finops": "bigint"}


def lock_roots_sql(leg: Leg, catalog: Catalog) -> str:
    """The statement that locks the root rows with the ids in $1 until the transaction ends."""
    if leg.source == "dataverse":
        table = catalog.table(leg.root)
        name, key = sql_name(table), quote_identifier(table.primary_id)
    else:
        name, key = table_sql_name(catalog.finops_tables[leg.root]), "recid"
    return f"select 1 from {name} where {key} = any($1::{ID_TYPES[leg.source]}[]) order by {key} for no key update"
