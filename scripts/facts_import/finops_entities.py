"""F&O: the data entities, and the tables that are the union of what the entities over them show."""

from __future__ import annotations

from typing import Any

import msgspec

from facts_import.data_sources import RULES, Sources, root_table
from facts_import.facts import Facts
from facts_import.solutions import Placement
from isthmus.metadata.choice import Enum, Member
from isthmus.metadata.entity import Entity, EntityField, EntityRelation, FinopsTable, NumberSequence, TableField
from isthmus.metadata.types import FieldType

_IMPLICIT = ("RecId", "DataAreaId")
_CONFIRMED_LENGTHS = ("ax2012", "believed")
_FIRST_ENTITIES = (
    "DirPartyCDSEntity",
    "CDSPostalAddressHistoryV2Entity",
    "PartyContactV3Entity",
    "CustCustomerV3Entity",
)


class Finops:
    """Entities, tables, enums and number sequences, built in one pass over the entities of the facts."""

    def __init__(self, facts: Facts, placement: Placement) -> None:
        self._facts = facts
        self._placement = placement
        self._fields: dict[str, dict[str, TableField]] = {}
        self._company: dict[str, bool] = {}
        self._keys: dict[str, list[tuple[str, ...]]] = {}
        self._sequences = {rule["field"]: name for name, rule in RULES["number_sequences"].items()}
        self.entities: dict[str, Entity] = {}
        self._sources: dict[str, Sources] = {}
        mapped = sorted(set(facts.map_entity.values()))
        order = [*_FIRST_ENTITIES, *mapped, *sorted(facts.entities)]
        for aot_name in dict.fromkeys(order):
            fact = facts.entities[aot_name]
            sources = self._sources[aot_name] = Sources(fact, root_table(fact))
            self._company.setdefault(sources.root.table, fact["company_specific"])
            for source in sources.used():
                self._company.setdefault(source.table, False)
                self._seed(source.table)
            if self._company[sources.root.table] != fact["company_specific"]:
                facts.note(f"{aot_name}: company_specific differs from its table {sources.root.table}")
            self.entities[aot_name] = self._entity(fact, sources)
        for aot_name, entity in self.entities.items():
            self._add_key(entity)
            relations = self._relations(facts.entities[aot_name])
            self.entities[aot_name] = msgspec.structs.replace(entity, relations=relations)

    def tables(self) -> list[FinopsTable]:
        """The tables, each in the solution of the first entity over it."""
        home: dict[str, str] = {}
        for aot_name, entity in self.entities.items():
            for source in entity.data_sources:
                home.setdefault(source.table, self._placement.of_entity(aot_name))
        shared = {"DirPartyTable", "DirPartyLocation", "LogisticsLocation", "LogisticsPostalAddress"}
        found = []
        for name in sorted(self._fields):
            fields = tuple(field for field in self._fields[name].values() if field.name not in _IMPLICIT)
            unique, plain = self._indexes(name)
            found.append(
                FinopsTable(
                    name=name,
                    company_specific=self._company[name],
                    fields=fields,
                    unique_indexes=unique,
                    indexes=plain,
                    solution="finops_base" if name in shared else home[name],
                )
            )
        return found

    def enums(self) -> list[Enum]:
        """The enums that a field has."""
        used = {field.enum for fields in self._fields.values() for field in fields.values() if field.enum}
        return [Enum(name, self._members(name)) for name in sorted(used)]

    def _members(self, enum: str) -> tuple[Member, ...]:
        """Members with a value each: one that the facts give twice goes to the first, the next gets a free one."""
        found: dict[int, str] = {}
        for value, symbol in self._facts.enums[enum]:
            if value in found:
                self._facts.note(f"enum {enum}: {symbol} and {found[value]} have one value; {symbol} gets another")
                value = max(number for number, _ in self._facts.enums[enum]) + 1
            found[value] = symbol
        return tuple(Member(value, symbol) for value, symbol in found.items())

    def number_sequences(self) -> list[NumberSequence]:
        """The number sequences that a field of a table names."""
        used = {f.number_sequence for fields in self._fields.values() for f in fields.values() if f.number_sequence}
        return [
            NumberSequence(name=name, format=rule["format"], company_specific=rule.get("company_specific", False))
            for name, rule in RULES["number_sequences"].items()
            if name in used
        ]

    def _seed(self, table: str) -> None:
        """The fields that joins and ranges need."""
        fields = self._fields.setdefault(table, {})
        for name, said in RULES["fields"].get(table, {}).items():
            kind, _, enum = said.partition(" ")
            self._put(fields, table, TableField(name=name, type=FieldType(kind), enum=enum or None))

    def _put(self, fields: dict[str, TableField], table: str, field: TableField) -> TableField:
        known = fields.get(field.name.lower())
        if known is None:
            sequence = self._sequences.get(f"{table}.{field.name}")
            known = msgspec.structs.replace(field, number_sequence=sequence)
        elif field.max_length is not None and known.max_length is not None:
            longest = max(field.max_length, known.max_length)
            known = msgspec.structs.replace(known, max_length=longest)
        fields[field.name.lower()] = known
        return known

    def _entity(self, fact: dict[str, Any], sources: Sources) -> Entity:
        used = sources.used()
        tables = {source.name: source.table for source in used}
        mapped = _mapped(self._facts, fact["aot_name"])
        checks = _checks_mandatory(self._facts, fact["aot_name"])
        fields = []
        for row in sorted(fact["fields"], key=lambda row: _rank(fact, mapped, row)):
            field = self._field(fact, sources, tables, row)
            fields.append(_with_duties(fact, row, field, mapped, checks))
        collection = fact["public_collection_name"] or fact["public_collection_guess"]
        return Entity(
            aot_name=fact["aot_name"],
            public_name=fact["public_entity_name"],
            collection=collection,
            label=fact.get("label") or "",
            company_specific=fact["company_specific"],
            keys=tuple(fact["keys"]),
            data_sources=used,
            fields=tuple(fields),
            read_only=fact["aot_name"] in RULES["read_only"]["entities"],
            solution=self._placement.of_entity(fact["aot_name"]),
        )

    def _field(
        self, fact: dict[str, Any], sources: Sources, tables: dict[str, str], row: dict[str, Any]
    ) -> EntityField:
        source, name = sources.binding_of(row["name"])
        kind, enum = FieldType(row["type"]), row.get("enum") if row["type"] == "enum" else None
        length = row.get("max_length") if row.get("len_src") in _CONFIRMED_LENGTHS else None
        sequence = None
        if name in _IMPLICIT:
            kind, length = (FieldType.INT64, None) if name == "RecId" else (FieldType.STRING, 4)
            enum = None
        else:
            wanted = TableField(name=name, type=kind, enum=enum, max_length=length)
            known = self._fields[tables[source]].get(name.lower())
            if known is not None and (known.type, known.enum) != (kind, enum):
                source, name, wanted = self._moved(fact, sources, row, known, wanted)
            stored = self._put(self._fields[tables[source]], tables[source], wanted)
            name, kind, enum = stored.name, stored.type, stored.enum
            if next(each for each in sources.found if each.name == source).created:
                sequence = stored.number_sequence
        return EntityField(
            name=row["name"],
            type=kind,
            source=source,
            field=name,
            enum=enum,
            max_length=length,
            number_sequence=sequence if name not in _IMPLICIT else None,
            read_only=name == "RecId",
        )

    def _moved(
        self, fact: dict[str, Any], sources: Sources, row: dict[str, Any], known: TableField, wanted: TableField
    ) -> tuple[str, str, TableField]:
        """Two entities disagree on a type: on the root the first one wins; a field of a joined table stays at home."""
        root = sources.root
        was = f"{known.type} {known.enum or ''}".strip()
        asks = f"{wanted.type} {wanted.enum or ''}".strip()
        source, name = sources.binding_of(row["name"])
        if source != root.name:
            own = self._fields[root.table].get(row["name"].lower())
            self._facts.note(f"{fact['aot_name']}.{row['name']}: {asks}, but {name} is {was}; kept on {root.table}")
            field = own or TableField(
                name=row["name"], type=wanted.type, enum=wanted.enum, max_length=wanted.max_length
            )
            return root.name, field.name, field
        self._facts.note(
            f"{fact['aot_name']}.{row['name']}: {asks} read as {was}, the type of {root.table}.{known.name}"
        )
        return source, known.name, known

    def _add_key(self, entity: Entity) -> None:
        """The entity's key as fields of its root table; a joined source's natural key is the root's link to it."""
        if entity.read_only:
            return
        source_of = entity.source
        fields: list[str] = []
        for key in entity.keys:
            field = entity.field[key.lower()]
            if field.field == "DataAreaId":
                continue
            if field.field == "RecId":
                return
            if field.source == entity.root.name:
                fields.append(field.field)
                continue
            source = source_of[field.source]
            if source.parent == entity.root.name and len(source.on) == 1 and source.on[0][0] == "RecId":
                fields.append(source.on[0][1])
            else:
                return
        keys = self._keys.setdefault(entity.root.table, [])
        if fields and tuple(fields) not in keys:
            keys.append(tuple(fields))

    def _indexes(self, table: str) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
        """The first entity's key is unique; a key that another entity over the table may leave empty is not."""
        ruled = table in RULES["unique"]
        unique = [tuple(columns) for columns in RULES["unique"].get(table, ())]
        plain: list[tuple[str, ...]] = []
        for key in self._keys.get(table, []):
            if sorted(key) in (sorted(other) for other in unique):
                continue
            (plain if unique or ruled else unique).append(key)
        leading = {key[0] for key in (*unique, *plain)}
        links = self._links(table)
        for link in sorted(links - leading - set(_IMPLICIT)):
            plain.append((link,))
        return tuple(unique), tuple(plain)

    def _links(self, table: str) -> set[str]:
        """Fields of the table that joins go through, in either direction."""
        found = set()
        for entity in self.entities.values():
            for source in entity.data_sources:
                for ours, theirs in source.on:
                    if source.table == table:
                        found.add(ours)
                    if source.parent is not None and entity.source[source.parent].table == table:
                        found.add(theirs)
        return found

    def _relations(self, fact: dict[str, Any]) -> tuple[EntityRelation, ...]:
        found = []
        fields = {field["name"].lower() for field in fact["fields"]}
        for row in fact["relations"]:
            target = self._facts.entities.get(row.get("to_entity", ""))
            if not row["on"] or target is None or row["name"].lower() in fields | {r.name.lower() for r in found}:
                continue
            on = tuple((ours, theirs) for ours, theirs in row["on"])
            found.append(EntityRelation(name=row["name"], entity=target["aot_name"], many=row["many"], on=on))
        return tuple(found)


def _rank(fact: dict[str, Any], mapped: set[str], row: dict[str, Any]) -> tuple[int, int]:
    """Keys first, then what maps use, then the rest in the order of the facts: narrow reads stay at a row's front."""
    if row["name"] in fact["keys"]:
        return 0, fact["keys"].index(row["name"])
    return (1 if row["name"].lower() in mapped else 2), 0


def _mapped(facts: Facts, aot_name: str) -> set[str]:
    return {row["finops"].lower() for fact in facts.maps_of(aot_name) for row in fact["fields"] if row["finops"]}


def _checks_mandatory(facts: Facts, aot_name: str) -> set[str] | None:
    """Fields that writes from Dataverse bring; None when no table map writes the entity."""
    brought: set[str] = set()
    writes = False
    for fact in facts.maps_of(aot_name):
        for row in fact["fields"]:
            if row["syncDirection"] & 2 and row["finops"]:
                writes = True
                brought.add(row["finops"].lower())
    return brought if writes else None


def _with_duties(
    fact: dict[str, Any], row: dict[str, Any], field: EntityField, mapped: set[str], brought: set[str] | None
) -> EntityField:
    """Mandatory and read-only.

    A text key is mandatory unless a number sequence fills it. What the facts call mandatory is so only where each
    table map that writes the entity brings it: otherwise a row that Dataverse may save could never be carried over.
    """
    text = field.type in (FieldType.STRING, FieldType.GUID)
    optional = row["name"] in RULES["optional_keys"]["fields"]
    is_key = row["name"] in fact["keys"]
    if is_key:
        mandatory = text and not optional and field.number_sequence is None and field.field not in _IMPLICIT
    else:
        mandatory = (
            row["mandatory"]
            and field.type in (FieldType.STRING, FieldType.ENUM)
            and field.number_sequence is None
            and (brought is None or row["name"].lower() in brought)
        )
    computed = row["name"].startswith(("Formatted", "FullPrimary")) and row["name"].lower() not in mapped
    return msgspec.structs.replace(field, mandatory=mandatory, read_only=field.read_only or computed)
