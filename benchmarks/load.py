"""Load over HTTP/1.1 with as little work on the client as Python allows: bytes out, bytes in, no client library."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import msgspec


class Outcome(msgspec.Struct):
    """What a run gave: requests a second, latency of each request in milliseconds, answers outside 2xx."""

    rate: float
    latencies: list[float]
    failures: int
    last_failure: bytes = b""


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """One request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body or method in ("POST", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """A keep-alive connection that sends one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        return cls(*await asyncio.open_connection(host, port, limit=2**22))

    async def send(self, content: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._writer.write(content)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        lowered = head.lower()
        start = lowered.find(b"content-length:")
        if start >= 0:
            length = int(lowered[start + 15 : lowered.index(b"\r\n", start)])
            return status, await self._reader.readexactly(length) if length else b""
        if b"transfer-encoding: chunked" in lowered:
            return status, await self._chunked()
        return status, b""

    async def _chunked(self) -> bytes:
        parts = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return b"".join(parts)

    def close(self) -> None:
        self._writer.close()


async def run(
    host: str, port: int, requests: Callable[[int], Iterator[bytes]], *, connections: int, seconds: float
) -> Outcome:
    """Send for `seconds` over that many connections; `requests(n)` yields what connection n sends, without end."""
    latencies: list[float] = []
    failed: list[bytes] = []
    opened = [await Connection.open(host, port) for _ in range(connections)]
    for number, connection in enumerate(opened):
        await connection.send(next(requests(number)))
    began = time.perf_counter()
    end = began + seconds

    async def drive(number: int, connection: Connection) -> None:
        for content in requests(number):
            sent = time.perf_counter()
            if sent >= end:
                return
            status, body = await connection.send(content)
            latencies.append((time.perf_counter() - sent) * 1000)
            if status >= 300:
                failed.append(body)

    await asyncio.gather(*(drive(number, connection) for number, connection in enumerate(opened)))
    elapsed = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return Outcome(len(latencies) / elapsed, latencies, len(failed), failed[-1][:500] if failed else b"")


async def run_at_rate(
    host: str, port: int, requests: Iterator[bytes], *, rate: float, connections: int, until: Callable[[], bool]
) -> Outcome:
    """Send `rate` requests a second, whatever becomes of those before, until told to stop. A latency counts from the
    moment at which the request was due."""
    latencies: list[float] = []
    failed: list[bytes] = []
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(connections):
        idle.put_nowait(await Connection.open(host, port))
    began = time.perf_counter()

    async def send(content: bytes, due: float) -> None:
        connection = await idle.get()
        status, body = await connection.send(content)
        latencies.append((time.perf_counter() - due) * 1000)
        idle.put_nowait(connection)
        if status >= 300:
            failed.append(body)

    async with asyncio.TaskGroup() as sending:
        for number, content in enumerate(requests):
            due = began + number / rate
            await asyncio.sleep(due - time.perf_counter())
            if until():
                break
            sending.create_task(send(content, due))
    elapsed = time.perf_counter() - began
    while not idle.empty():
        idle.get_nowait().close()
    return Outcome(len(latencies) / elapsed, latencies, len(failed), failed[-1][:500] if failed else b"")
