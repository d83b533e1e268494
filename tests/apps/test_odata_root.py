"""Errors that the halves share: what is made of the driver's, and what stays unknown."""

from __future__ import annotations

import asyncpg
import pytest

from isthmus.apps.odata_root import known_error
from isthmus.errors import Conflict, IsthmusError, Rejected, Unavailable

OURS = Conflict("x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.ConnectionDoesNotExistError("x"), Unavailable),
        (asyncpg.AdminShutdownError("x"), Unavailable),
        (asyncpg.QueryCanceledError("x"), Unavailable),
        (asyncpg.InterfaceError("connection is closed"), Unavailable),
        (ConnectionResetError("x"), Unavailable),
        (TimeoutError("x"), Unavailable),
        (asyncpg.NumericValueOutOfRangeError("x"), Rejected),
        (asyncpg.exceptions._base.DataError("value out of int32 range"), Rejected),
    ],
)
def test_errors_of_the_driver_have_a_plain_meaning(error: Exception, kind: type[IsthmusError]) -> None:
    assert type(known_error(error)) is kind


def test_errors_of_ours_stay_what_they_are() -> None:
    assert known_error(OURS) is OURS


def test_what_nobody_foresaw_is_not_explained() -> None:
    assert known_error(ZeroDivisionError("secret")) is None
