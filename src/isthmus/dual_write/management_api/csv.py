"""Lists as CSV files, sent while they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse


class Csv(StreamingResponse):
    """A file of comma-separated values (RFC 4180), with a heading line; `pieces` are texts of whole lines."""

    media_type = "text/csv"

    def __init__(self, name: str, pieces: AsyncIterator[str]) -> None:
        super().__init__(pieces, media_type=f"{self.media_type}; charset=utf-8")
        self.headers["content-disposition"] = f'attachment; filename="{name}.csv"'
