"""Every code that a check can print is documented."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CALLS = re.compile(r'code="([^"]+)"|mapped\.fault\(\s*"([^"]+)"|code = "([^"]+)"(?: if [^\n]+ else "([^"]+)")?')


def codes() -> set[str]:
    """Codes in the source of the checks and of the reading of files."""
    metadata = ROOT / "src" / "isthmus" / "metadata"
    sources = [*(metadata / "check").glob("*.py"), metadata / "files.py", metadata / "loading.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return {code for groups in CALLS.findall(text) for code in groups if code}


def test_every_code_is_documented() -> None:
    documented = set(re.findall(r"`([A-Za-z0-9_]+)`", (ROOT / "docs/reference/validation_codes.md").read_text("utf-8")))
    found = codes()
    assert len(found) > 30
    assert found - documented == set()
