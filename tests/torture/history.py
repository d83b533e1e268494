"""What the writers did, and what they were told."""

from __future__ import annotations

import itertools
import time
from typing import Literal

import msgspec

Kind = Literal["create", "append", "delete"]
Side = Literal["dataverse", "finops"]
Outcome = Literal["acknowledged", "refused", "unknown"]


class Operation(msgspec.Struct, eq=False):
    """One write by a client: when it was sent and answered (monotonic seconds), and how it ended for the client.

    `mark` is what it writes: it is found in the record exactly when the write took effect. `outcome` stays unknown when
    the connection broke or the server said that it did not know, and no repetition told.
    """

    kind: Kind
    side: Side
    mark: str
    invoked: float
    answered: float = 0.0
    outcome: Outcome = "unknown"
    status: int = 0
    said: str = ""
    attempts: int = 0
    repeated: bool = False


class Record(msgspec.Struct, eq=False):
    """One customer, and everything written to it. `number` is empty while only the server knows it."""

    mark: str
    number: str = ""
    account_id: str = ""
    operations: list[Operation] = []
    retired: bool = False

    def of(self, kind: Kind, *outcomes: Outcome) -> list[Operation]:
        """Its operations of a kind that ended so; however they ended when nothing is said."""
        return [o for o in self.operations if o.kind == kind and (not outcomes or o.outcome in outcomes)]


class History:
    """All records of one round, by the mark of the operation that created them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count(1)
        self.records: list[Record] = []

    def new_mark(self) -> str:
        """A text that no other operation writes."""
        return f"{self._name}{next(self._numbers):x}"

    def new_record(self, number: str = "") -> Record:
        """A record that is about to be created."""
        record = Record(mark=self.new_mark(), number=number)
        self.records.append(record)
        return record

    def operations(self) -> list[Operation]:
        """All operations of all records."""
        return [operation for record in self.records for operation in record.operations]

    def begin(self, record: Record, kind: Kind, side: Side, mark: str) -> Operation:
        """Note that a write is about to be sent."""
        operation = Operation(kind=kind, side=side, mark=mark, invoked=time.monotonic())
        record.operations.append(operation)
        return operation
