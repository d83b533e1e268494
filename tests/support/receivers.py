"""Services that alerts are sent to: a web server and a mail server that keep what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec


class Received(msgspec.Struct):
    """What a service was told so far; `status` is what the web server answers next, and from then on."""

    port: int
    bodies: list[str] = []
    paths: list[str] = []
    status: int = 200


@asynccontextmanager
async def web_server() -> AsyncIterator[Received]:
    """A web server that takes any request."""
    received = Received(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            (int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")), 0
        )
        received.bodies.append((await reader.readexactly(length)).decode())
        received.paths.append(head.split(" ")[1])
        writer.write(f"HTTP/1.1 {received.status} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".encode())
        await _end(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        received.port = server.sockets[0].getsockname()[1]
        yield received


@asynccontextmanager
async def mail_server() -> AsyncIterator[Received]:
    """A mail server that takes any message; `paths` are whom it was for."""
    received = Received(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode():
            verb = line[:4].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                received.bodies.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            if verb == "RCPT":
                received.paths.append(line.split("<")[1].split(">")[0])
            writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
            if verb == "QUIT":
                break
        await _end(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        received.port = server.sockets[0].getsockname()[1]
        yield received


async def _end(writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        await writer.drain()
        writer.close()
        await writer.wait_closed()
