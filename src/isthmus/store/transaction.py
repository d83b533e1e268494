"""One transaction on one database, from BEGIN to its end: committed, rolled back, or prepared for the second phase."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, cast

import asyncpg

from isthmus.errors import Bug, Rejected, Retriable, Unavailable
from isthmus.store.connections import Connections

State = Literal["idle", "open", "prepared", "ended", "unknown"]

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
    OSError,
)
"""What the driver raises when the connection is gone: whether the statement took effect is then not known."""

NO_CONNECTION = (*LOST, asyncpg.TooManyConnectionsError, asyncpg.InterfaceError)
"""What the driver raises when it has no connection to send a statement on, or loses the one it has."""

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""Everything that the driver raises, a refusal by the database as well as the loss of a connection."""


BEGIN = "begin; set local plan_cache_mode = force_generic_plan"
"""How each transaction begins. Its statements are ours, few and sent again and again, with ids and keys for parameters:
a plan for any values serves them. Left to itself PostgreSQL takes those to be ten rows, finds a plan for the one row
given cheaper, and plans anew each time: 7 ms for the projection of a customer where there are 200,000 of them.
"""


class Transaction:
    """A transaction and the connection it runs on. Not to be used by two tasks at once."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self._connection: Any = None
        self.state: State = "idle"
        self.gid: str | None = None

    async def begin(self) -> None:
        """Take a connection and begin. Unavailable when the database does not answer."""
        try:
            self._connection = await self._pool.take()
            await self._connection.execute(BEGIN)
        except BaseException as error:
            # Whoever could not begin, or was cancelled meanwhile, does not close; whether it began is not known.
            self.state = "unknown"
            await self.close()
            if isinstance(error, NO_CONNECTION):
                raise Unavailable(
                    f"The database does not answer: {error}. The same request may be sent again."
                ) from error
            raise
        self.state = "open"

    @property
    def connection(self) -> Any:
        """The connection, for statements inside the transaction."""
        if self.state != "open":
            raise Bug(f"A statement was sent on a transaction that is {self.state}.")
        return self._connection

    async def value(self, sql: str, *arguments: Any) -> Any:
        """First column of the first row, None when there is no row."""
        return await self._run(self.connection.fetchval, sql, arguments)

    async def row(self, sql: str, *arguments: Any) -> Any:
        """First row, None when there is none."""
        return await self._run(self.connection.fetchrow, sql, arguments)

    async def rows(self, sql: str, *arguments: Any) -> list[Any]:
        """All rows."""
        return cast("list[Any]", await self._run(self.connection.fetch, sql, arguments))

    async def run(self, sql: str, *arguments: Any) -> str:
        """Run a statement and return its command tag, such as `UPDATE 1`."""
        return cast("str", await self._run(self.connection.execute, sql, arguments))

    async def commit(self, condition: str = "") -> None:
        """Commit. When the connection is lost meanwhile the outcome is not known: state `unknown`, Unavailable.

        `condition`, a constant statement, goes with it in one message: when it fails nothing is committed, and what the
        driver raises for it is raised. Rejected when a constraint that waited for the end of the transaction is broken,
        Bug when a statement in it has failed before: nothing is committed then.
        """
        try:
            self._check_done("COMMIT", await self.connection.execute(f"{condition}; commit" if condition else "commit"))
        except asyncpg.IntegrityConstraintViolationError as error:
            raise _constraint_broken(error) from error
        except (*LOST, asyncpg.InterfaceError) as error:
            self._lose(error)
            raise Unavailable(
                "The connection was lost while the database committed: whether the save took effect is not known. "
                "Read the record, or send the request again with the same Idempotency-Key.",
                code="outcome_unknown",
            ) from error
        self.state = "ended"

    async def prepare(self, gid: str) -> None:
        """First phase: PREPARE TRANSACTION. Deferred constraints are checked here: Rejected when one is broken.

        Bug when a statement of the transaction has failed before; nothing is prepared then.
        """
        self.gid = gid
        try:
            self._check_done("PREPARE TRANSACTION", await self.connection.execute(f"prepare transaction '{gid}'"))
        except asyncpg.IntegrityConstraintViolationError as error:
            raise _constraint_broken(error) from error
        except (*LOST, asyncpg.InterfaceError) as error:
            self._lose(error)
            raise Unavailable("The connection to the partner half was lost; nothing was saved.") from error
        self.state = "prepared"

    async def commit_prepared(self) -> None:
        """Second phase, after the decision to commit has been recorded."""
        await self._connection.execute(f"commit prepared '{self.gid}'")
        self.state = "ended"

    async def rollback_prepared(self) -> None:
        """Undo the first phase; only for a coordinator that has not sent the origin's COMMIT."""
        await self._connection.execute(f"rollback prepared '{self.gid}'")
        self.state = "ended"

    async def close(self) -> None:
        """Roll back what is still open and give the connection back. Never raises for the connection's sake."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if self.state == "open":
                await connection.execute("rollback")
            elif self.state == "unknown":
                connection.terminate()
        except DRIVER_ERRORS:
            connection.terminate()
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            if self.state == "open":
                self.state = "ended"
            self._pool.give_back(connection)

    def _check_done(self, wanted: str, tag: str) -> None:
        """Of a transaction in which a statement has failed, PostgreSQL makes a ROLLBACK and reports no error."""
        if tag != wanted:
            self.state = "ended"
            raise Bug(f"{wanted} became {tag}, because a statement of the transaction had failed. Nothing was saved.")

    def _lose(self, error: Exception) -> None:
        """Note that the connection is gone; any other complaint of the driver is raised as it is."""
        if isinstance(error, asyncpg.InterfaceError) and not self._connection.is_closed():
            raise error
        self.state = "unknown"

    async def _run(self, method: Any, sql: str, arguments: tuple[Any, ...]) -> Any:
        try:
            return await method(sql, *arguments)
        except (*LOST, asyncpg.InterfaceError) as error:
            self._lose(error)
            raise Unavailable("The connection to the database was lost; nothing was saved. Send it again.") from error
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
            raise Retriable(
                f"Another save holds what this one needs ({error}). Nothing was saved; send the same request again.",
                code="lock_timeout",
            ) from error


def _constraint_broken(error: asyncpg.IntegrityConstraintViolationError) -> Rejected:
    return Rejected(
        f"The save breaks the constraint '{error.constraint_name}' of '{error.table_name}'. Nothing was saved on "
        "either half; correct the values that it is about.",
        code="constraint_broken",
    )
