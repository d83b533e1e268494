"""The reference page lists everything that is understood, every limit and every code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isthmus.query import (
    dataverse_functions,
    functions,
    odata,
    odata_lexer,
    odata_names,
    odata_path,
    plan,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/odata_support.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"`([^`]+)`", PAGE))

UNDERSTOOD = [
    *functions.FUNCTIONS,
    *functions.ARITHMETIC,
    *functions.TEXT_MATCHES,
    *dataverse_functions.RELATIVE_TIMES,
    *dataverse_functions.CALLER_COMPARISONS,
    *dataverse_functions.UNSUPPORTED,
    *("eq", "ne", "gt", "ge", "lt", "le", "and", "or", "not", "in", "any", "all"),
    *("$select", "$filter", "$orderby", "$expand", "$top", "$skip", "$count", "$skiptoken"),
    *("Between", "NotBetween", "In", "NotIn", "Contains", "InFiscalPeriod"),
    *("ContainValues", "DoesNotContainValues", "EqualUserTeams", "EqualUserOrUserTeams"),
]


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_name_is_listed(name: str) -> None:
    assert name in WORDS


def test_refused_options_are_listed() -> None:
    listed = WORDS | set(re.findall(r"\$\w+", PAGE))
    assert set(odata._REFUSED) <= listed


@pytest.mark.parametrize(
    "limit",
    [
        odata.MAX_QUERY_CHARACTERS,
        odata_lexer.MAX_TERMS,
        odata_lexer.MAX_DEPTH,
        odata_lexer.MAX_PATH,
        odata_names.MAX_LAMBDA_DEPTH,
        odata.MAX_EXPANDS,
        odata.MAX_EXPAND_DEPTH,
        plan.MAX_EXPANDED_ROWS,
        odata_path.MAX_PATH_CHARACTERS,
        odata_path.MAX_SEGMENTS,
    ],
)
def test_limit_is_listed(limit: int) -> None:
    assert re.search(rf"(?<![\d,]){limit:,}(?![\d,]\d)", PAGE.split("## Limits")[1])


def test_codes_are_listed() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/isthmus/query").glob("*.py"))
    codes = set(re.findall(r'code="(\w+)"', sources)) - {"caller_missing"}
    assert codes == set(re.findall(r"^\| `(\w+)` \|", PAGE.split("## Refusals")[1], re.MULTILINE))
