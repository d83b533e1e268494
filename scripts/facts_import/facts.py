"""The facts as they lie in their folder, read and indexed; nothing is decided here."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def hand_kept(name: str) -> dict[str, Any]:
    """A hand-kept data file beside the script."""
    return tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))


@dataclass
class Facts:
    """Everything read from the facts folder, and what the import reports at its end."""

    tables: dict[str, dict[str, Any]]
    entities: dict[str, dict[str, Any]]
    enums: dict[str, list[list[Any]]]
    maps: dict[str, dict[str, Any]]
    earlier_maps: dict[str, dict[str, Any]]
    map_entity: dict[str, str]
    map_table: dict[str, str]
    packages: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Facts:
        coverage = _json(folder / "schema" / "coverage.json")["maps"]
        return cls(
            tables=_folder(folder / "schema" / "dataverse"),
            entities=_folder(folder / "schema" / "finops"),
            enums=_json(folder / "schema" / "finops_enums.json"),
            maps=_folder(folder / "maps"),
            earlier_maps=_folder(folder / "maps_2020"),
            map_entity={row["map"]: row["finops_entity"] for row in coverage},
            map_table={row["map"]: row["dataverse_table"] for row in coverage},
            packages=_json(folder / "packages.json"),
        )

    def note(self, text: str) -> None:
        """Something a reader of the import's summary should know."""
        self.notes.append(text)

    def maps_of(self, aot_name: str) -> list[dict[str, Any]]:
        """The table maps of an entity."""
        return [self.maps[name] for name, entity in self.map_entity.items() if entity == aot_name]


def _folder(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: _json(path) for path in sorted(folder.glob("*.json"))}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
