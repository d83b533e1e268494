"""The link between the two halves: one identifier, written into both, so that no half is ever joined to a stranger."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import asyncpg

from isthmus.apps.principal import Half
from isthmus.errors import Rejected

_SETTING = "link"


async def read_link(control: asyncpg.Connection | asyncpg.Pool) -> str:
    """The link of an environment whose databases are up to date."""
    link: str = await control.fetchval("select value from isthmus.setting where name = $1", _SETTING)
    return link


async def ensure_link(control: asyncpg.Connection, halves: Mapping[Half, asyncpg.Connection]) -> str:
    """The environment's link, made at its first start: eight hexadecimal digits, part of every two-sided save's name.

    Rejected when a half carries another one: its database belongs to another environment, or was restored alone.
    """
    await control.execute(
        "insert into isthmus.setting (name, value) values ($1, $2) on conflict do nothing",
        _SETTING,
        secrets.token_hex(4),
    )
    link = await read_link(control)
    for half, connection in halves.items():
        found = await connection.fetchrow("select id, half from isthmus.link")
        if found is None:
            await connection.execute("insert into isthmus.link (id, half) values ($1, $2)", link, half)
        elif (found["id"], found["half"]) != (link, half):
            whose = (
                "this environment" if found["id"] == link else f"another environment (link {found['id']}, here {link})"
            )
            raise Rejected(
                f"The database given as the {half} half is the {found['half']} half of {whose}. "
                "Name the right database, or restore both halves together.",
                code="foreign_half",
                half=half,
            )
    return link
