"""A database behind a socket that a test can cut: what a half that is away looks like to the other one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

PORT_SUFFIX = ".s.PGSQL.5432"


class Cuttable:
    """Passes bytes on from a socket of its own to that of the database server."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.server_dsn = dsn
        address = urlsplit(dsn)
        self._server_socket = str(Path(unquote(parse_qs(address.query)["host"][0])) / PORT_SUFFIX)
        self._own_socket = str(folder / PORT_SUFFIX)
        self.dsn = f"{address.scheme}://{address.netloc}{address.path}?host={quote(str(folder), safe='')}"
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        """Accept connections, for the first time or again."""
        if self._listener is None:
            self._listener = await asyncio.start_unix_server(self._serve, self._own_socket)

    async def cut(self) -> None:
        """End every connection and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
            Path(self._own_socket).unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._server_socket)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, back))
                group.create_task(_pass_on(there, writer))
        except* OSError:
            pass
        finally:
            self._writers -= {writer, back}
            writer.transport.abort()
            back.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
