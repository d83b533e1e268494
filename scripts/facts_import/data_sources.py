"""Which data sources an entity reads and writes over, and on which of them each of its fields lies.

The rules are data (`data_sources.toml`): parties, their postal addresses and electronic addresses follow from field
names; what follows no rule is listed entity by entity.
"""

from __future__ import annotations

from typing import Any

from facts_import.facts import hand_kept
from isthmus.metadata.entity import DataSource

RULES = hand_kept("data_sources")
Binding = tuple[str, str]
"""(data source, field of its table)."""


class Sources:
    """Data sources of one entity with the fields that lie on others than the root."""

    def __init__(self, fact: dict[str, Any], root_table: str) -> None:
        self.aot_name: str = fact["aot_name"]
        self.root = DataSource(
            name=root_table, table=root_table, outer=False, fixed=RULES["ranges"].get(self.aot_name, {})
        )
        self.found: list[DataSource] = [self.root]
        self.bindings: dict[str, Binding] = {}
        self._fields: dict[str, dict[str, Any]] = {field["name"]: field for field in fact["fields"]}
        self._party()
        self._addresses()
        self._contacts()
        self._listed()

    def binding_of(self, name: str) -> Binding:
        """Source and table field of an entity field."""
        if name in self.bindings:
            return self.bindings[name]
        if name in RULES["implicit"]:
            return self.root.name, RULES["implicit"][name]
        if name == "dataAreaId":
            return self.root.name, "DataAreaId"
        named = RULES["names"].get(self.root.table, {}).get(name)
        if named is not None:
            return self.root.name, named
        field = self._fields[name]
        if field.get("base_table") == self.root.table and "base_field" in field:
            return self.root.name, field["base_field"]
        return self.root.name, name

    def used(self) -> tuple[DataSource, ...]:
        """The sources that a field lies on, and those that lead to them."""
        needed = {source for source, _ in self.bindings.values()} | {self.root.name}
        parents = {source.name: source.parent for source in self.found}
        for name in list(needed):
            parent = parents[name]
            while parent is not None:
                needed.add(parent)
                parent = parents[parent]
        return tuple(source for source in self.found if source.name in needed)

    def _add(self, name: str, table: str, **rest: Any) -> str:
        if all(source.name != name for source in self.found):
            parent = rest.pop("parent", self.root.name)
            self.found.append(DataSource(name=name, table=table, parent=parent, **rest))
        return name

    def _bind(self, name: str, source: str, field: str) -> None:
        if name in self._fields and name not in self.bindings:
            self.bindings[name] = (source, field)

    def _party(self) -> None:
        rules = RULES["party"]
        if self.root.table == "DirPartyTable":
            source = self.root.name
        elif self.aot_name in rules["link"]:
            link = rules["link"][self.aot_name]
            source = self._add("Party", "DirPartyTable", on=(("RecId", link),), outer=False)
        else:
            return
        own = {name for name, field in self._fields.items() if field.get("base_table") == self.root.table}
        for field, names in rules["names"].items():
            for name in names:
                if name not in own or self.root.table == "DirPartyTable":
                    self._bind(name, source, field)
        if self.aot_name in rules["named"]["entities"]:
            self._bind("Name", source, "Name")

    def _addresses(self) -> None:
        names = RULES["address"]["names"]
        for prefix, rule in RULES["address"]["prefixes"].get(self.aot_name, {}).items():
            kind = rule["source"]
            party_location = self._add(
                f"{kind}PartyLocation",
                "DirPartyLocation",
                parent="Party",
                on=(("Party", "RecId"),),
                fixed=rule["fixed"],
            )
            location = self._add(
                f"{kind}Location", "LogisticsLocation", parent=party_location, on=(("RecId", "Location"),)
            )
            address = self._add(
                f"{kind}Address", "LogisticsPostalAddress", parent=location, on=(("Location", "RecId"),), current=True
            )
            for source, table in (
                (party_location, "DirPartyLocation"),
                (location, "LogisticsLocation"),
                (address, "LogisticsPostalAddress"),
            ):
                for field, suffixes in names[table].items():
                    for suffix in suffixes:
                        self._bind(prefix + suffix, source, field)

    def _contacts(self) -> None:
        rules = RULES["contact"]
        if self.aot_name not in rules["entities"]:
            return
        for kind, rule in rules["kinds"].items():
            source = self._add(
                f"Primary{kind}",
                "LogisticsElectronicAddress",
                parent="Party",
                on=(("Party", "RecId"),),
                fixed={"Type": rule["value"], "IsPrimary": 1},
            )
            for name in rule["names"]:
                for suffix, field in rules["suffixes"].items():
                    self._bind(name + suffix, source, field)
        for name, rule in rules["others"].items():
            self._bind(name, f"Primary{rule['kind']}", rule["field"])

    def _listed(self) -> None:
        for rule in RULES["sources"].get(self.aot_name, ()):
            said = dict(rule["source"])
            said["on"] = tuple((first, second) for first, second in said["on"])
            source = self._add(said.pop("name"), said.pop("table"), **said)
            for name, field in rule["fields"].items():
                self._bind(name, source, field)


def root_table(fact: dict[str, Any]) -> str:
    """The table an entity's records live in: as listed, else the facts' first data source, else its own name."""
    aot_name = fact["aot_name"]
    if aot_name in RULES["roots"]:
        return str(RULES["roots"][aot_name])
    if fact["data_sources"]:
        return str(fact["data_sources"][0]["table"])
    return str(aot_name.removesuffix("Entity"))
