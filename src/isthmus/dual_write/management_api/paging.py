"""Pages of long lists: by the key of the last item, so that a page costs the same wherever it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

import msgspec

Item = TypeVar("Item")

LARGEST_PAGE = 999
"""One less than what the lists below read at once: one item more tells whether another page follows."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE, description="Items of a page, at most.")]


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """Some items of a list; `next` is given as `after` to get those that follow, null when there are none."""

    items: list[Item]
    next: str | None = None


def page_of(found: Sequence[Item], limit: int, key: Callable[[Item], str]) -> Page[Item]:
    """The page of `found`, which was read with one item more than fits, to know whether more follow."""
    shown = list(found[:limit])
    return Page(items=shown, next=key(shown[-1]) if len(found) > limit else None)
