"""Loading names every file that can't be read, not only the first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from isthmus import solutions
from isthmus.errors import Rejected
from isthmus.metadata.loading import load


def test_every_unreadable_file_is_named(tmp_path: Path) -> None:
    folders = []
    for folder in solutions.folders():
        shutil.copytree(folder, tmp_path / folder.name)
        folders.append(tmp_path / folder.name)
    spoiled = [tmp_path / "finance/tables/msdyn_vendor.toml", tmp_path / "supply_chain/tables/msdyn_warehouse.toml"]
    for path in spoiled:
        path.write_text(path.read_text("utf-8").replace("logical_name", "logical_nam", 1), "utf-8")
    with pytest.raises(Rejected) as refusal:
        load(folders)
    for path in spoiled:
        assert str(path) in refusal.value.message
