"""What a PostgreSQL server must offer before a half may live on it."""

from __future__ import annotations

import asyncpg

from isthmus.errors import Rejected, Unavailable

OLDEST_VERSION = 15
FEWEST_PREPARED_TRANSACTIONS = 10
CONNECT_SECONDS = 10


async def check_server(dsn: str, setting: str) -> None:
    """Check the server behind a DSN; `setting` is the setting it comes from (`dataverse_dsn`), for the message.

    Raises Unavailable when it can't be reached, Rejected when its version is below 15 or it allows too few prepared
    transactions: both halves of a save are prepared, and PostgreSQL allows none by default.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(
            f"The database of {setting} can't be reached: {str(error) or type(error).__name__}. Check the address, the "
            "user and the password.",
            code="database_unreachable",
            setting=setting,
        ) from error
    try:
        version = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
        prepared = int(await connection.fetchval("SELECT current_setting('max_prepared_transactions')"))
    finally:
        await connection.close()
    check_capabilities(setting, version, prepared)


def check_capabilities(setting: str, version: int, prepared: int) -> None:
    """Refuse a server by what it says of itself: `server_version_num` (180004) and `max_prepared_transactions`."""
    if version < OLDEST_VERSION * 10_000:
        raise Rejected(
            f"The server of {setting} is PostgreSQL {version // 10_000}.{version % 10_000}; Isthmus needs "
            f"{OLDEST_VERSION} or later: upgrade it or name another server.",
            code="database_version",
            setting=setting,
        )
    if prepared < FEWEST_PREPARED_TRANSACTIONS:
        raise Rejected(
            f"max_prepared_transactions is {prepared} on the server of {setting}; it must be at least "
            f"{FEWEST_PREPARED_TRANSACTIONS} (recommended: 2 x pool_size x workers). Set it with "
            "ALTER SYSTEM SET max_prepared_transactions = 200, then restart that server.",
            code="max_prepared_transactions",
            setting=setting,
        )
