"""Which solution each component lies in."""

from __future__ import annotations

from typing import Any

from facts_import.facts import Facts, hand_kept
from isthmus.metadata.solution import Solution

_PARTY = "party_and_global_address_book"


class Placement:
    """Places of components, from the packages' table lists and the hand-kept exceptions."""

    def __init__(self, facts: Facts) -> None:
        self._said: dict[str, Any] = hand_kept("solutions")
        self._facts = facts
        self._by_set: dict[str, list[str]] = {}
        for name, solution in self._said["solutions"].items():
            package = facts.packages.get(solution.get("package", ""), {})
            for entity_set in package.get("dataverse_tables_in_order", ()):
                self._by_set.setdefault(entity_set, []).append(name)

    def solutions(self) -> list[Solution]:
        """The solutions themselves."""
        found = []
        for name, said in self._said["solutions"].items():
            package = self._facts.packages.get(said.get("package", ""), {})
            found.append(
                Solution(
                    name=name,
                    friendly_name=said["friendly_name"],
                    depends_on=tuple(said.get("depends_on", ())),
                    packages=tuple(package.get("solutions", ())),
                )
            )
        return found

    def of_table(self, logical_name: str) -> str:
        """The first package that lists the table; standard tables are the base's, the rest is Project Operations'."""
        entity_set = self._facts.tables[logical_name]["entity_set_name"]
        if not logical_name.startswith(("msdyn_", "cdm_", "msmrw_")):
            return "dataverse_base"
        if entity_set in self._said["tables"]:
            return str(self._said["tables"][entity_set])
        listed = self._by_set.get(entity_set)
        return listed[0] if listed else "project_operations"

    def of_map(self, name: str) -> str:
        """A map that the party package brought in a later version is its; others lie where their table is listed."""
        if name in self._said["table_maps"]:
            return str(self._said["table_maps"][name])
        logical_name = self._facts.map_table[name]
        entity_set = self._facts.tables[logical_name]["entity_set_name"]
        listed = self._by_set.get(entity_set, [])
        if _PARTY in listed and (name in self._said["versions"] or len(listed) == 1):
            return _PARTY
        return listed[0] if listed else self.of_table(logical_name)

    def version(self, name: str) -> str:
        """The version of a table map."""
        return str(self._said["versions"].get(name, "1.0.0.0"))

    def of_entity(self, aot_name: str) -> str:
        """An entity of a map lies beside its first map."""
        maps = sorted(name for name, entity in self._facts.map_entity.items() if entity == aot_name)
        if maps:
            return self.of_map(maps[0])
        return (
            "project_operations" if aot_name.startswith("Proj") and aot_name != "ProjTableBiEntity" else "finops_base"
        )
