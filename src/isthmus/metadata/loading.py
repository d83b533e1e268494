"""Loading of solutions: folders of definition files -> catalog, with a cache of the decoded catalog.

Reading a thousand TOML files takes seconds, so the catalog is kept as msgpack under a digest of (path, size, time of
change) of every file and of this package's own code. The cache directory belongs to the user alone (mode 0700); one
that somebody else could write to is not used.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata import files
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import Entity, FinopsTable, NumberSequence
from isthmus.metadata.relationship import ManyToMany, OneToMany
from isthmus.metadata.relationship_names import Named, relationships_of
from isthmus.metadata.solution import Solution
from isthmus.metadata.table import Table
from isthmus.metadata.table_map import TableMap

T = TypeVar("T")


def load(folders: Iterable[Path], cache: Path | None = None) -> Catalog:
    """The catalog of the solutions in `folders`, each a folder with a `solution.toml`.

    `cache` is a directory for the decoded catalog; None reads the files each time. Rejected with file and row when a
    file is not well-formed or a component occurs twice.
    """
    ordered = sorted(folders, key=lambda folder: folder.name)
    if cache is None:
        return _read(ordered)
    path = cache / f"catalog-{_digest(ordered)}.msgpack"
    if not _is_private(cache):
        return _read(ordered)
    found = _cached(path)
    if found is None:
        found = _read(ordered)
        _keep(path, found)
    return found


def default_cache() -> Path:
    """The cache directory of this user: below XDG_CACHE_HOME or ~/.cache, else below the system's temporary one."""
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and str(Path.home() / ".cache"))
    if home:
        return Path(home) / "isthmus"
    return Path(tempfile.gettempdir()) / f"isthmus-{os.getuid()}"


def version_of(catalog: Catalog) -> str:
    """Digest of everything in a catalog but its version."""
    encoded = msgspec.msgpack.encode(msgspec.structs.replace(catalog, version=""), order="sorted")
    return hashlib.sha256(encoded).hexdigest()[:32]


def _read(folders: Sequence[Path]) -> Catalog:
    solutions: dict[str, Solution] = {}
    tables: dict[str, Table] = {}
    named: dict[str, tuple[Named, ...]] = {}
    enums: dict[str, Enum] = {}
    finops_tables: dict[str, FinopsTable] = {}
    entities: dict[str, Entity] = {}
    number_sequences: dict[str, NumberSequence] = {}
    table_maps: dict[str, TableMap] = {}
    earlier: list[TableMap] = []
    many_to_many: list[ManyToMany] = []
    errors: list[Rejected] = []
    for folder in folders:
        solution = files.read_solution(folder / "solution.toml")
        _add(solutions, solution.name, solution, folder / "solution.toml")
        for path in _files(folder, "tables"):
            with _noted(errors):
                table, said = files.read_table(path, solution.name)
                _add_as_named(tables, table.logical_name, table, path)
                named[table.logical_name] = said
        for path in _files(folder, "choices"):
            with _noted(errors):
                enum = files.read_enum(path)
                _add_as_named(enums, enum.name, enum, path)
        for path in _files(folder, "finops_tables"):
            with _noted(errors):
                finops_table = files.read_finops_table(path, solution.name)
                _add_as_named(finops_tables, finops_table.name, finops_table, path)
        for path in _files(folder, "entities"):
            with _noted(errors):
                entity = files.read_entity(path, solution.name)
                _add_as_named(entities, entity.aot_name, entity, path)
        for path in _files(folder, "table_maps"):
            with _noted(errors):
                table_map = files.read_table_map(path, solution.name)
                _add(table_maps, table_map.name, table_map, path)
        for path in _files(folder, "table_maps/earlier"):
            with _noted(errors):
                earlier.append(files.read_table_map(path, solution.name))
        if (path := folder / "number_sequences.toml").exists():
            with _noted(errors):
                for sequence in files.read_number_sequences(path):
                    _add(number_sequences, sequence.name, sequence, path)
        if (path := folder / "relationships.toml").exists():
            with _noted(errors):
                many_to_many += files.read_many_to_many(path)
    _raise_all(errors)
    one_to_many: list[OneToMany] = []
    for name, table in tables.items():
        one_to_many += relationships_of(table, named[name])
    catalog = Catalog(
        version="",
        solutions=solutions,
        tables=tables,
        one_to_many=tuple(one_to_many),
        many_to_many=tuple(many_to_many),
        enums=enums,
        finops_tables=finops_tables,
        entities=entities,
        number_sequences=number_sequences,
        table_maps=table_maps,
        earlier_table_maps=tuple(earlier),
    )
    return msgspec.structs.replace(catalog, version=version_of(catalog))


@contextmanager
def _noted(errors: list[Rejected]) -> Iterator[None]:
    """Note what is wrong with one file and go on with the next: a report names every fault, not the first."""
    try:
        yield
    except Rejected as error:
        errors.append(error)


def _raise_all(errors: Sequence[Rejected]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise Rejected("\n".join(error.message for error in errors), code="definitions_unreadable")


def _files(folder: Path, component: str) -> list[Path]:
    return sorted((folder / component).glob("*.toml"))


def _add(found: dict[str, T], name: str, component: T, path: Path) -> None:
    if name in found:
        raise Rejected(f"{path}: there are two definitions of '{name}'.", code="definition_twice", file=str(path))
    found[name] = component


def _add_as_named(found: dict[str, T], name: str, component: T, path: Path) -> None:
    """Messages find the file of a component by its name, so the file has to bear it."""
    if path.stem != name:
        raise Rejected(
            f"{path}: holds '{name}'; name the file {name}.toml.", code="definition_misnamed", file=str(path)
        )
    _add(found, name, component, path)


def _digest(folders: Sequence[Path]) -> str:
    """Digest of what a cached catalog depends on, without opening a file."""
    digest = hashlib.sha256()
    code = Path(__file__).parent
    for folder, pattern in ((code, ".py"), *((folder, ".toml") for folder in folders)):
        digest.update(str(folder.resolve()).encode())
        for path, entry in _walk(folder, pattern):
            digest.update(f"\0{path}\0{entry.st_mtime_ns}\0{entry.st_size}".encode())
    return digest.hexdigest()[:32]


def _walk(folder: Path, suffix: str) -> list[tuple[str, os.stat_result]]:
    found = []
    for entry in os.scandir(folder):
        if entry.is_dir():
            found += [(f"{entry.name}/{name}", info) for name, info in _walk(Path(entry.path), suffix)]
        elif entry.name.endswith(suffix):
            found.append((entry.name, entry.stat()))
    return sorted(found)


def _is_private(cache: Path) -> bool:
    """Whether the cache directory is there (it is made if not), is ours, and nobody else can enter it."""
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = cache.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o077


def _cached(path: Path) -> Catalog | None:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Catalog)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def _keep(path: Path, catalog: Catalog) -> None:
    """Write the catalog beside its place and move it there, so that nobody reads half a file; drop older ones."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix="catalog-", suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.msgpack.encode(catalog))
        Path(temporary).replace(path)
        for old in sorted(path.parent.glob("catalog-*.msgpack"), key=lambda old: old.stat().st_mtime_ns)[:-8]:
            old.unlink(missing_ok=True)
    except OSError:
        return
