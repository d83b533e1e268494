"""Solutions: the definitions that Isthmus ships, one folder each."""

from __future__ import annotations

from pathlib import Path

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.loading import default_cache, load

_HERE = Path(__file__).parent


def folders() -> list[Path]:
    """The folders of the shipped solutions."""
    return sorted(path.parent for path in _HERE.glob("*/solution.toml"))


def catalog(cache: Path | None = None) -> Catalog:
    """The catalog of the shipped solutions; decoded once, then read from `cache` (default: the user's own)."""
    return load(folders(), default_cache() if cache is None else cache)
