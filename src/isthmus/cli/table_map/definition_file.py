"""A definition of a table map in a file, as TOML or JSON."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from isthmus.cli.table_map.client import Document
from isthmus.errors import Rejected


def read_definition(file: Path) -> Document:
    """The definition in a file; its name says which form it has. Rejected when it can't be read."""
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise Rejected(f"{file} can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise Rejected(f"{file} is not valid: {error}.") from None
    if not isinstance(found, dict):
        raise Rejected(f"{file} must hold one object.")
    return found
