"""Turn published facts about Dynamics 365 into the definitions of `src/isthmus/solutions`.

    python scripts/import_facts.py FACTS_DIR [SOLUTIONS_DIR]

The result is the product's own and is committed; the facts are not needed afterwards. The same facts and the same
hand-kept files of `scripts/facts_import` give the same definitions, byte for byte. Components written by hand beside
them stay; they are listed in the summary, with what was decided on the way.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from facts_import.dataverse_tables import import_tables
from facts_import.earlier_maps import earlier_maps
from facts_import.facts import Facts
from facts_import.finops_entities import Finops
from facts_import.solutions import Placement
from facts_import.table_maps import TableMaps

from isthmus.metadata import files
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.relationship import ManyToMany

_SOLUTIONS = Path(__file__).parent.parent / "src" / "isthmus" / "solutions"
_COMPONENTS = ("tables", "choices", "finops_tables", "entities", "table_maps", "table_maps/earlier")
_TEAM_MEMBERSHIP = ManyToMany(
    schema_name="teammembership_association",
    intersect="teammembership",
    first="systemuser",
    first_navigation="teammembership_association",
    second="team",
    second_navigation="teammembership_association",
)


def build(facts: Facts) -> dict[str, str]:
    """Text of every definition file by its path below the solutions folder."""
    placement = Placement(facts)
    tables, relationships = import_tables(facts, placement)
    finops = Finops(facts, placement)
    enums = finops.enums()
    found: dict[str, str] = {}
    for solution in placement.solutions():
        found[f"{solution.name}/solution.toml"] = files.write_solution(solution)
    for name, table in tables.items():
        found[f"{table.solution}/tables/{name}.toml"] = files.write_table(table, relationships[name])
    for entity in finops.entities.values():
        found[f"{entity.solution}/entities/{entity.aot_name}.toml"] = files.write_entity(entity)
    for finops_table in finops.tables():
        path = f"{finops_table.solution}/finops_tables/{finops_table.name}.toml"
        found[path] = files.write_finops_table(finops_table)
    for enum in enums:
        found[f"finops_base/choices/{enum.name}.toml"] = files.write_enum(enum)
    made = TableMaps(facts, placement, tables, finops.entities, enums)
    table_maps = made.all()
    for name, table_map in table_maps.items():
        found[f"{table_map.solution}/table_maps/{name}.toml"] = files.write_table_map(table_map)
    catalog = Catalog(
        version="",
        solutions={},
        tables=tables,
        one_to_many=(),
        many_to_many=(),
        enums={enum.name: enum for enum in enums},
        finops_tables={},
        entities=finops.entities,
        number_sequences={},
        table_maps={table_map.name: table_map for table_map in table_maps.values()},
    )
    for name, table_map in earlier_maps(facts, made, catalog).items():
        found[f"{table_map.solution}/table_maps/earlier/{name}.toml"] = files.write_table_map(table_map)
    found["finops_base/number_sequences.toml"] = files.write_number_sequences(finops.number_sequences())
    found["dataverse_base/relationships.toml"] = files.write_many_to_many([_TEAM_MEMBERSHIP])
    return found


def write(definitions: dict[str, str], folder: Path) -> int:
    """Write the definition files that differ; returns how many."""
    changed = 0
    for name, text in sorted(definitions.items()):
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        changed += 1
    return changed


def by_hand(definitions: dict[str, str], folder: Path) -> list[str]:
    """Component files in the folder that the facts don't give."""
    found = [str(path.relative_to(folder)) for kind in _COMPONENTS for path in folder.glob(f"*/{kind}/*.toml")]
    return sorted(set(found) - set(definitions))


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    facts = Facts.read(Path(sys.argv[1]))
    definitions = build(facts)
    folder = Path(sys.argv[2]) if len(sys.argv) == 3 else _SOLUTIONS
    changed = write(definitions, folder)
    for note in facts.notes:
        print(f"note: {note}")
    for name in by_hand(definitions, folder):
        print(f"by hand: {name}")
    print(f"{len(definitions)} definition files, {changed} changed")


if __name__ == "__main__":
    main()
