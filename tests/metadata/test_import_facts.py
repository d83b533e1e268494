"""The import of facts gives the shipped definitions again; runs where ISTHMUS_FACTS names the folder of the facts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus import solutions

FACTS = os.environ.get("ISTHMUS_FACTS", "")
ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not FACTS, reason="ISTHMUS_FACTS is not set")
def test_import_gives_the_shipped_definitions(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "import_facts.py"), FACTS, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.toml")}
    home = solutions.folders()[0].parent
    assert len(made) > 1000
    assert [name for name, content in made.items() if (home / name).read_bytes() != content] == []
