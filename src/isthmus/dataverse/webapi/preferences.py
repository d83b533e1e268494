"""The `Prefer` header: what the caller would like the answer to look like."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

MAX_PAGE_SIZE = 5000
"""Dataverse's largest page, and the size of a page when nothing is asked for."""

_PREFERENCE = re.compile(r"""\s*([^=,;\s]+)\s*(?:=\s*("[^"]*"|[^",;]*(?:,(?![^,;=]*=)[^",;]*)*))?\s*[,;]?""")


class Preferences(msgspec.Struct, frozen=True):
    """`annotations` are patterns such as `*` or `OData.Community.Display.V1.*`; `page_size` is capped at 5000."""

    representation: bool = False
    annotations: tuple[str, ...] = ()
    page_size: int = MAX_PAGE_SIZE
    sized: bool = False
    applied: bytes | None = None

    def wants(self, annotation: str) -> bool:
        """Whether an annotation is asked for, by name or by a pattern that ends in `*`."""
        return any(
            pattern == annotation or (pattern.endswith("*") and annotation.startswith(pattern[:-1]))
            for pattern in self.annotations
        )


NONE = Preferences()


@lru_cache(maxsize=512)
def read_preferences(header: bytes) -> Preferences:
    """The preferences of a header; what is not known is ignored, as RFC 7240 says.

    Values may be quoted or not, also a list of annotations: `odata.include-annotations=a,b`.
    """
    representation, annotations, page_size, sized = False, (), MAX_PAGE_SIZE, False
    applied: list[str] = []
    for name, value in _PREFERENCE.findall(header.decode("latin-1")):
        value = value.strip().strip('"')
        match name.lower():
            case "return":
                representation = value.lower() == "representation"
                applied.append(f"return={value}")
            case "odata.include-annotations" | "include-annotations":
                annotations = tuple(pattern.strip() for pattern in value.split(",") if pattern.strip())
                applied.append(f'odata.include-annotations="{value}"')
            case "odata.maxpagesize" | "maxpagesize" if value.isdigit() and int(value) > 0:
                page_size, sized = min(int(value), MAX_PAGE_SIZE), True
                applied.append(f"odata.maxpagesize={page_size}")
    return Preferences(
        representation=representation,
        annotations=annotations,
        page_size=page_size,
        sized=sized,
        applied=", ".join(applied).encode("latin-1") if applied else None,
    )
