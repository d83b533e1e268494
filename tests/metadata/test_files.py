"""Definition files: what is written reads back, and faults of a file name it and its row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus import solutions
from isthmus.errors import Rejected
from isthmus.metadata import files
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.choice import Enum, Member
from isthmus.metadata.relationship_names import relationships_of

SHIPPED = {path.relative_to(folder.parent): path for folder in solutions.folders() for path in folder.rglob("*.toml")}


def of(kind: str) -> list[Path]:
    """The shipped files of one kind of component."""
    return [path for name, path in SHIPPED.items() if len(name.parts) == 3 and name.parts[1] == kind]


def rewritten_table(path: Path) -> str:
    table, named = files.read_table(path, "s")
    return files.write_table(table, relationships_of(table, named))


@pytest.mark.parametrize(
    ("kind", "rewritten"),
    [
        ("tables", rewritten_table),
        ("choices", lambda path: files.write_enum(files.read_enum(path))),
        ("finops_tables", lambda path: files.write_finops_table(files.read_finops_table(path, "s"))),
        ("entities", lambda path: files.write_entity(files.read_entity(path, "s"))),
        ("table_maps", lambda path: files.write_table_map(files.read_table_map(path, "s"))),
    ],
)
def test_round_trip_of_every_shipped_file(kind: str, rewritten: Callable[[Path], str]) -> None:
    paths = of(kind)
    assert len(paths) > 100
    assert [path for path in paths if rewritten(path) != path.read_text(encoding="utf-8")] == []


def test_round_trip_of_the_single_files() -> None:
    for folder in solutions.folders():
        path = folder / "solution.toml"
        assert files.write_solution(files.read_solution(path)) == path.read_text(encoding="utf-8")
    path = next(path for name, path in SHIPPED.items() if name.name == "number_sequences.toml")
    assert files.write_number_sequences(files.read_number_sequences(path)) == path.read_text(encoding="utf-8")
    path = next(path for name, path in SHIPPED.items() if name.name == "relationships.toml")
    assert files.write_many_to_many(files.read_many_to_many(path)) == path.read_text(encoding="utf-8")


def test_tables_have_system_columns_that_files_do_not_list(catalog: Catalog) -> None:
    group = catalog.tables["msdyn_customergroup"]
    assert {"createdon", "versionnumber", "ownerid", "statecode", "statuscode"} <= group.column.keys()
    path = next(path for path in of("tables") if path.stem == "msdyn_customergroup")
    assert "versionnumber" not in path.read_text(encoding="utf-8")
    assert "ownerid" not in catalog.tables["teammembership"].column


def test_real_relationship_names(catalog: Catalog) -> None:
    contacts = catalog.collections_of["account"]["contact_customer_accounts"]
    assert (contacts.lookup_navigation, contacts.cascade.delete) == ("parentcustomerid_account", "Cascade")
    assert catalog.lookups_of["account"]["primarycontactid"].collection_navigation == "account_primary_contact"
    assert catalog.lookups_of["task"]["regardingobjectid_account_task"].collection_navigation == "Account_Tasks"
    assert catalog.lookups_of["account"]["msdyn_company"].cascade.delete == "Restrict"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


TABLE = 'logical_name = "x"\nschema_name = "x"\nentity_set_name = "xs"\ndisplay_name = "X"\nprimary_id = "xid"\n'
MAP = 'name = "m"\nentity = "E"\ntable = "t"\nintegration_key = ["a"]\n'
ENTITY = 'aot_name = "E"\npublic_name = "E"\ncollection = "Es"\ncompany_specific = false\nkeys = []\nfields = []\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = = 1", "line 1"),
        (TABLE + 'columns = [{ name = "a", type = "Strnig" }]', "$.columns[0].type"),
        (TABLE + 'columns = [{ name = "a", type = "String" }, { name = "b", typ = "" }]', "`typ` - at `$.columns[1]`"),
        (TABLE + 'colums = []', "`colums`"),
        (TABLE + 'relationships = [{ column = "a", goal = "b" }]', "goal"),
        (TABLE + 'relationships = [{ column = "a", target = "b", cascade = { delte = "Cascade" } }]', "delte"),
        (TABLE + "columns = 3", "$.columns"),
    ],
)  # fmt: skip
def test_faulty_table(tmp_path: Path, text: str, said: str) -> None:
    _refused(files.read_table, write(tmp_path / "x.toml", text), said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MAP, "rows"),
        (MAP + 'rows = [["A", "=", "a"], ["B", "="]]', "row 2"),
        (MAP + 'rows = [["A", "=", "a"], ["B", "=>", "b"]]', "row 2"),
        (MAP + 'rows = [["A", "=", 3]]', "row 1"),
        (MAP + 'rows = [["A", ">>", "a", { defalt = "x" }]]', "row 1"),
    ],
)
def test_faulty_table_map(tmp_path: Path, text: str, said: str) -> None:
    _refused(files.read_table_map, write(tmp_path / "m.toml", text), said)


def test_entity_without_data_sources(tmp_path: Path) -> None:
    _refused(files.read_entity, write(tmp_path / "E.toml", ENTITY), "data_sources")


def _refused(read: Callable[[Path, str], Any], path: Path, said: str) -> None:
    with pytest.raises(Rejected) as caught:
        read(path, "s")
    assert caught.value.code == "definition_invalid"
    assert str(path) in caught.value.message
    assert said in caught.value.message


def test_field_defaults_to_the_root_and_its_own_name(tmp_path: Path) -> None:
    text = ENTITY.replace("fields = []", 'fields = [{ name = "A", type = "string" }]')
    path = write(tmp_path / "E.toml", text + 'data_sources = [{ name = "Root", table = "T" }]')
    (field,) = files.read_entity(path, "s").fields
    assert (field.source, field.field) == ("Root", "A")


def test_text_survives(tmp_path: Path) -> None:
    texts = ['"', "'", "\"'", "\\", "a\nb", "\t", "é€", "\x7f", "# no comment", ""]
    enum = Enum("E", tuple(Member(i, text) for i, text in enumerate(texts)))
    assert files.read_enum(write(tmp_path / "E.toml", files.write_enum(enum))) == enum
