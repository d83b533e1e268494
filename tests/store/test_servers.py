"""A server of one's own is refused when it can't do what the protocol needs."""

from __future__ import annotations

import socket

import asyncpg
import pytest

from isthmus.errors import Rejected, Unavailable
from isthmus.store.servers import check_capabilities, check_server


async def test_the_embedded_server_passes(postgres_dsn: str) -> None:
    await check_server(postgres_dsn, "dataverse_dsn")


def test_an_old_version_is_refused() -> None:
    with pytest.raises(Rejected, match=r"finops_dsn is PostgreSQL 14\.9; Isthmus needs 15"):
        check_capabilities("finops_dsn", 140009, 200)
    check_capabilities("finops_dsn", 150000, 10)


@pytest.mark.parametrize("prepared", [0, 9])
def test_too_few_prepared_transactions_are_refused_with_what_to_set(prepared: int) -> None:
    with pytest.raises(Rejected) as refusal:
        check_capabilities("dataverse_dsn", 180004, prepared)
    assert refusal.value.code == "max_prepared_transactions"
    assert f"max_prepared_transactions is {prepared}" in refusal.value.message
    assert "at least 10" in refusal.value.message
    assert "ALTER SYSTEM SET max_prepared_transactions = 200" in refusal.value.message


async def test_a_server_that_is_not_there_is_named_by_its_setting() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        dsn = f"postgresql://a:b@127.0.0.1:{held.getsockname()[1]}/x"
        with pytest.raises(Unavailable, match="database of finops_dsn can't be reached"):
            await check_server(dsn, "finops_dsn")


async def test_a_wrong_password_does_not_show_in_the_message(postgres_dsn: str) -> None:
    _, _, rest = postgres_dsn.partition("@")
    with pytest.raises(Unavailable) as refusal:
        await check_server(f"postgresql://isthmus:not-the-password@{rest}", "control_dsn")
    assert "not-the-password" not in refusal.value.message
    assert isinstance(refusal.value.__cause__, asyncpg.InvalidPasswordError)
