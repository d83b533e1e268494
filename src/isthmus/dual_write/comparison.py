"""A table map, compiled for comparison: what each half shows of a record, in texts that are equal on both.

A field mapping has up to two texts on each half. Forward is the value as Dataverse holds it: on F&O what the leg to
Dataverse makes of the field, on Dataverse what stands. Backward is the value as F&O holds it: on Dataverse what the leg
to F&O makes of the column, on F&O what stands. Two halves agree about a field mapping when one of the directions that
it goes in agrees: where both do, either half may have written the value.
"""

from __future__ import annotations

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.calculated import columns_read, fields_read
from isthmus.metadata.entity import EntityField
from isthmus.metadata.map_path import MapPath
from isthmus.metadata.table_map import FieldMapping, TableMap

FAULT = "\x1f"
"""Begins the text of a value that has no counterpart, so that it equals nothing."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A field mapping as it is compared; `path` is its Dataverse side, `field` its F&O side.

    `forward` and `backward` are the directions that it goes in. A constant stands where the half that sends it wrote
    last, so that it tells nothing about two records.
    """

    mapping: FieldMapping
    field: EntityField | None
    path: MapPath | None
    forward: bool
    backward: bool

    @property
    def by_name(self) -> bool:
        """Whether the text names another row, and compares without regard to case."""
        return self.path is not None and self.path.is_lookup

    @property
    def sends_forward(self) -> bool:
        """Whether a value of the F&O record goes to Dataverse."""
        return self.forward and bool(fields_read(self.mapping))

    @property
    def sends_backward(self) -> bool:
        """Whether a value of the Dataverse row goes to F&O."""
        return self.backward and (self.path is not None or bool(columns_read(self.mapping)))


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The statements that read one half. $1 is a list of company codes, or null for all records.

    `totals` yields (company, bucket, records, checksum) of the records that take part: by bucket, then by company.
    `records` yields (key, company, id, passes, takes_part, refused, checksum) of all records in the buckets $2, by key.
    `details` yields (id, company, key, passes, forward, backward) of the ids $1; the last two by field mapping.
    """

    totals: str
    records: str
    details: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A table map, compiled for comparison. `sends` are the halves that its legs begin at."""

    table_map: TableMap
    compared: tuple[Compared, ...]
    sends: frozenset[Half]
    sides: dict[Half, Side]
