"""One record of a data entity on its way to the rows of its data sources: which rows there are, which must be made,
which are found by a natural key, and which column takes which value."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from isthmus.errors import Bug, Rejected
from isthmus.finops.data_sources import COMPANY, RECID, DataSources, Image, Source
from isthmus.finops.values import NO_VALUE
from isthmus.finops.writes import RowWrite, Writes


class Link(msgspec.Struct, frozen=True):
    """A data source whose row a record can name by natural key, such as a party by its number.

    `fields` are entity fields, `columns` the columns of the source they are: together a unique index of it.
    """

    source: str
    fields: tuple[str, ...]
    columns: tuple[str, ...]


def links(sources: DataSources) -> tuple[Link, ...]:
    """The links of an entity, parents before children.

    Only rows that their parent points at by RecId: any other row belongs to its parent and is no one else's.
    """
    found = []
    for source in sources.sources.values():
        if source.parent is None or not source.points_from_parent:
            continue
        bound = {binding.column: name for name, binding in sources.fields.items() if binding.source == source.name}
        for index in source.table.unique_indexes:
            columns = tuple(column.lower() for column in index)
            if all(column in bound for column in columns):
                found.append(Link(source.name, tuple(bound[column] for column in columns), columns))
                break
    return tuple(found)


class Record:
    """One record of a message while its rows are planned.

    `values` and `asked` are by entity field, as converted; `image` is what `images.lock` read, empty for a new record.
    `new_recids` are those that the message took for the rows it makes.
    """

    def __init__(
        self,
        sources: DataSources,
        writes: Writes,
        new_recids: deque[int],
        company: str,
        values: Mapping[str, Any],
        asked: Mapping[str, Any],
        image: Image | None,
    ) -> None:
        self.sources = sources
        self.writes = writes
        self.new_recids = new_recids
        self.company = company
        self.values = values
        self.asked = asked
        self.is_new = image is None
        self.image: Image = dict(image or {})
        self._kept: set[str] = set()
        self.recids: dict[str, int] = {
            name: value for (name, column), value in self.image.items() if column == RECID and value is not None
        }

    def named_key(self, link: Link) -> tuple[Any, ...] | None:
        """The natural key that the record gives for a linked row; None when it gives none, or the one that stands."""
        key = tuple(self.values.get(field) for field in link.fields)
        if any(
            part is None or part == NO_VALUE[self.sources.fields[field].type]
            for part, field in zip(key, link.fields, strict=True)
        ):
            return None
        standing = tuple(self.image.get((link.source, column)) for column in link.columns)
        if link.source in self.recids and _folded(key) == _folded(standing):
            return None
        return key

    def attach(self, link: Link, found: Image | None) -> None:
        """Let the record point at the row that its natural key named; `found` is None when there is no such row.

        The column that points there never counts as asked for: all that the record shows of that row changes with it.

        Raises Rejected (`reference_not_found`) where a write may not make the row.
        """
        if found is None:
            source = self.sources.sources[link.source]
            if not source.definition.created:
                shown = ", ".join(f"'{self.values[field]}'" for field in link.fields)
                names = ", ".join(f"'{self.sources.fields[field].field.name}'" for field in link.fields)
                raise Rejected(
                    f"The value {shown} in field {names} is not found in the related table '{source.table.name}'. "
                    "Create that record first, or give one that exists.",
                    code="reference_not_found",
                    field=link.fields[0],
                    value=shown,
                )
            self._forget(link.source)
            self.ensure(link.source)
        else:
            self._forget(link.source)
            self.image.update(found)
            self.recids.update(
                (name, value) for (name, column), value in found.items() if column == RECID and value is not None
            )
            self._point(link.source)

    def detach(self, link: Link) -> None:
        """Let the record point at no row of this data source any more."""
        source = self.sources.sources[link.source]
        if source.parent in self.recids:
            parent = self.row(source.parent)
            for ours, theirs in source.on:
                if ours == RECID:
                    parent.put(theirs, 0)
        self._forget(link.source)

    def keep(self, link: Link) -> None:
        """Leave the natural key of a row that belongs to the record as it is: it can't be emptied."""
        row = self.row(link.source)
        for field, column in zip(link.fields, link.columns, strict=True):
            self._kept.add(field)
            row.asked[column] = self.values[field]

    def keep_spelling(self, link: Link) -> None:
        """Leave the natural key of a row that is there as it is spelled: to name it in another case renames nothing."""
        for field, column in zip(link.fields, link.columns, strict=True):
            given, stands = self.values.get(field), self.image.get((link.source, column))
            if link.source in self.recids and given != stands and _folded((given,)) == _folded((stands,)):
                self._kept.add(field)
                self.row(link.source).asked[column] = stands

    def plan(self) -> None:
        """Plan the writes of all values, parents before children."""
        if self.is_new:
            self.ensure(self.sources.root.name)
        for name, source in self.sources.sources.items():
            if self.is_new and not source.definition.outer and source.definition.created:
                self.ensure(name)
            for field, value in self.values.items():
                binding = self.sources.fields[field]
                if binding.source == name and not binding.is_system and field not in self._kept:
                    self._put(field, value)
        for field, value in self.asked.items():
            binding = self.sources.fields[field]
            if binding.source in self.recids and (planned := self.writes.rows.get(self._key(binding.source))):
                planned.asked.setdefault(binding.column, value)

    def _put(self, field: str, value: Any) -> None:
        binding = self.sources.fields[field]
        if binding.source not in self.recids:
            if value == NO_VALUE[binding.type]:
                return
            if not self.sources.sources[binding.source].definition.created:
                raise Rejected(
                    f"Field '{binding.field.name}' can't be given a value: the record has no "
                    f"{binding.source} that it could be written to.",
                    code="source_missing",
                    field=binding.field.name,
                )
        self.ensure(binding.source)
        self.row(binding.source).put(binding.column, value)

    def ensure(self, name: str) -> RowWrite:
        """The planned write of a source's row; the row is made, with all it hangs on, when it is not there."""
        if name in self.recids:
            return self.row(name)
        source = self.sources.sources[name]
        recid = self.recids[name] = self.new_recids.popleft()
        write = self.writes.insert(source.table, recid, self.company)
        write.values.update(source.fixed)
        for binding in self.sources.fields.values():
            if binding.source == name and binding.field.number_sequence:
                write.sequences[binding.column] = binding.field.number_sequence
        for field in source.table.fields:
            if field.number_sequence:
                write.sequences.setdefault(field.column, field.number_sequence)
        if source.parent is not None:
            self.ensure(source.parent)
            self._point(name)
        return write

    def row(self, name: str) -> RowWrite:
        """The planned write of a source's row that is there."""
        source = self.sources.sources[name]
        write = self.writes.update(source.table, self.recids[name], self.company)
        if not write.is_new:
            for (owner, column), value in self.image.items():
                if owner == name:
                    write.before.setdefault(column, value)
        return write

    def _point(self, name: str) -> None:
        """Set the columns that join a source's row to its parent's."""
        source = self.sources.sources[name]
        if source.parent is None:
            raise Bug(f"The root of {self.sources.entity.aot_name} has no parent.")
        parent, child = self.ensure(source.parent), self.row(name)
        for ours, theirs in source.on:
            if ours == RECID:
                parent.put(theirs, child.recid)
            elif ours != COMPANY:
                child.put(ours, parent.value(theirs))

    def _forget(self, name: str) -> None:
        """Drop what was read of a source's row and of the rows below it."""
        gone = {name, *self.sources.descendants(name)}
        self.image = {key: value for key, value in self.image.items() if key[0] not in gone}
        for source in gone:
            self.recids.pop(source, None)

    def _key(self, name: str) -> tuple[str, int]:
        return self.sources.sources[name].table.name, self.recids[name]


def _folded(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part.casefold() if isinstance(part, str) else part for part in key)


def find_columns(
    sources: DataSources, source: Source, columns: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Those of `columns` that belong to a linked row or to the rows below it."""
    below = {source.name, *sources.descendants(source.name)}
    return tuple(column for column in columns if column[0] in below)
