"""Why what was sent does not fit a type, in words that say what would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.inspect import DictType, ListType, LiteralType, Metadata, StructType, UnionType, VarTupleType, type_info

_MISSING = re.compile(r"Object missing required field `(\w+)`")
_STEP = re.compile(r"\w+|\[[^\]]*\]")


def reason_of(error: msgspec.ValidationError, wanted: Any) -> tuple[str, str]:
    """What was wrong with a value of the type `wanted`, and the path to it."""
    reason, _, place = str(error).partition(" - at `")
    place = place.removesuffix("`").removeprefix("$.").removeprefix("$")
    if missing := _MISSING.fullmatch(reason):
        return "it is missing", f"{place}.{missing[1]}".lstrip(".")
    if reason.startswith("Invalid enum value"):
        kinds = [type_info(wanted)]
        for step in _STEP.findall(place):
            kinds = [inner for kind in kinds for inner in _inside(kind, step)]
        allowed = [str(value) for kind in kinds for plain in _plain(kind) for value in _values(plain)]
        reason = f"{reason}; there are: {', '.join(allowed)}"
    return reason, place


def _plain(kind: Any) -> Iterator[Any]:
    """A type without what only says more about it; each type of a union."""
    if isinstance(kind, Metadata):
        yield from _plain(kind.type)
    elif isinstance(kind, UnionType):
        for one in kind.types:
            yield from _plain(one)
    else:
        yield kind


def _inside(kind: Any, step: str) -> Iterator[Any]:
    """What stands in a value of this type under a name, or as one of its items."""
    for one in _plain(kind):
        if isinstance(one, StructType):
            yield from (field.type for field in one.fields if field.encode_name == step)
        elif isinstance(one, ListType | VarTupleType):
            yield one.item_type
        elif isinstance(one, DictType):
            yield one.value_type


def _values(kind: Any) -> tuple[Any, ...]:
    return tuple(kind.values) if isinstance(kind, LiteralType) else ()
