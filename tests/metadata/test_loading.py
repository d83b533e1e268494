"""Loading of solution folders: the catalog, its version, and its cache."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from isthmus import solutions
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.loading import load, version_of


@pytest.fixture
def solution(tmp_path: Path) -> Path:
    """A copy of a small shipped solution."""
    folder = tmp_path / "asset_management"
    shutil.copytree(next(f for f in solutions.folders() if f.name == "asset_management"), folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def entries(cache: Path) -> list[Path]:
    return list(cache.glob("catalog-*.msgpack"))


def test_shipped_catalog(catalog: Catalog) -> None:
    assert len(catalog.table_maps) == 135
    assert sum(len(table_map.rows) for table_map in catalog.table_maps.values()) == 1635
    assert catalog.version == version_of(catalog)
    assert catalog.table_maps["accounts - Customers V3"].version == "1.0.0.5"


def test_everything_has_its_solution(catalog: Catalog) -> None:
    for component in (*catalog.tables.values(), *catalog.entities.values(), *catalog.table_maps.values()):
        assert component.solution in catalog.solutions


def test_cached_catalog_is_the_same_and_fast(catalog: Catalog, cache: Path) -> None:
    assert load(solutions.folders(), cache) == catalog
    start = time.perf_counter()
    again = load(solutions.folders(), cache)
    assert time.perf_counter() - start < 1
    assert again == catalog
    assert len(entries(cache)) == 1


def test_change_of_a_file_is_seen(solution: Path, cache: Path) -> None:
    before = load([solution], cache)
    path = solution / "table_maps" / "Models.toml"
    path.write_text(path.read_text().replace('version = "1.0.0.0"', 'version = "1.0.0.1"'))
    after = load([solution], cache)
    assert after.version != before.version
    assert {m.version for m in after.table_maps.values()} == {"1.0.0.0", "1.0.0.1"}


def test_removal_of_a_file_is_seen(solution: Path, cache: Path) -> None:
    before = load([solution], cache)
    (solution / "table_maps" / "Models.toml").unlink()
    assert len(load([solution], cache).table_maps) == len(before.table_maps) - 1


def test_version_is_of_the_content(solution: Path) -> None:
    before = load([solution])
    os.utime(solution / "solution.toml", ns=(1, 1))
    assert load([solution]).version == before.version


def test_cache_that_others_may_write_is_not_used(solution: Path, cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    assert load([solution], cache).table_maps
    assert entries(cache) == []


def test_cache_that_is_a_link_is_not_used(solution: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    load([solution], cache)
    assert entries(tmp_path / "elsewhere") == []


def test_cache_is_private(solution: Path, cache: Path) -> None:
    load([solution], cache)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in entries(cache)] == [0o600]


def test_damaged_cache_is_replaced(solution: Path, cache: Path) -> None:
    catalog = load([solution], cache)
    (entry,) = entries(cache)
    entry.write_bytes(b"\x93 no catalog")
    assert load([solution], cache) == catalog
    assert entry.stat().st_size > 1000


def test_component_twice(solution: Path) -> None:
    shutil.copy(solution / "table_maps" / "Models.toml", solution / "table_maps" / "Models2.toml")
    with pytest.raises(Rejected, match=r"Models2\.toml: there are two definitions") as caught:
        load([solution])
    assert caught.value.code == "definition_twice"


def test_file_not_named_after_its_component(solution: Path) -> None:
    (solution / "tables" / "msdyn_model.toml").rename(solution / "tables" / "model.toml")
    with pytest.raises(Rejected, match=r"name the file msdyn_model\.toml") as caught:
        load([solution])
    assert caught.value.code == "definition_misnamed"
