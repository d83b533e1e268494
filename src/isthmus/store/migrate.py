"""Bring our own schema `isthmus` of a database up to date."""

from __future__ import annotations

from importlib import resources
from typing import Literal

import asyncpg

MIGRATION_LOCK = 7_305_781_101
"""Advisory lock that lets one process migrate at a time."""


async def migrate(connection: asyncpg.Connection, kind: Literal["half", "control"]) -> list[str]:
    """Run the migrations of `kind` that have not run on this database yet, all in one transaction; their names."""
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        await connection.execute("create schema if not exists isthmus")
        await connection.execute(
            "create table if not exists isthmus.migration "
            "(name text primary key, at timestamptz not null default now())"
        )
        done = {record["name"] for record in await connection.fetch("select name from isthmus.migration")}
        ran = []
        for name, sql in _files(kind):
            if name not in done:
                await connection.execute(sql)
                await connection.execute("insert into isthmus.migration (name) values ($1)", name)
                ran.append(name)
    return ran


async def migrations_waiting(
    connection: asyncpg.Connection | asyncpg.Pool, kind: Literal["half", "control"]
) -> list[str]:
    """Names of the migrations of `kind` that have not run on this database."""
    if await connection.fetchval("select to_regclass('isthmus.migration')") is None:
        done = set()
    else:
        done = {record["name"] for record in await connection.fetch("select name from isthmus.migration")}
    return [name for name, _ in _files(kind) if name not in done]


def _files(kind: str) -> list[tuple[str, str]]:
    folder = resources.files("isthmus.store.migrations")
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.name.startswith(kind) and entry.name.endswith(".sql")
    )
    return [(name, folder.joinpath(name).read_text("utf-8")) for name in names]
