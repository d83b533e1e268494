"""`statecode` and `statuscode`: a status reason belongs to a state, and each state has its default one."""

from __future__ import annotations

from typing import Any

from isthmus.apps.message import Row
from isthmus.errors import Rejected
from isthmus.metadata.table import Column, Table

STATE = "statecode"
STATUS = "statuscode"


def default_states(table: Table, row: Row) -> None:
    """On create: the state defaults to the first one, the status reason to its state's default."""
    state, status = table.column.get(STATE), table.column.get(STATUS)
    if state is None:
        return
    if row.values.get(STATE) is None:
        row.values[STATE] = default_state(state)
    if status is None:
        return
    if row.values.get(STATUS) is None:
        row.values[STATUS] = default_status(status, row.values[STATE])
    _check_pair(table, status, row.values)


def keep_states_consistent(table: Table, row: Row) -> None:
    """On update, with the row's before image: a new state brings its default status reason unless one is given.

    A status reason of another state than the row's is refused (0x80048408), as Dataverse refuses it.
    """
    state, status = table.column.get(STATE), table.column.get(STATUS)
    if state is None or row.before is None or not {STATE, STATUS} & row.values.keys():
        return
    if STATE in row.values and row.values[STATE] is None:
        row.values[STATE] = row.before[STATE]
    if status is None:
        return
    if row.values.get(STATUS) is None:
        row.values.pop(STATUS, None)
        if row.values.get(STATE, row.before[STATE]) != row.before[STATE]:
            row.values[STATUS] = default_status(status, row.values[STATE])
    _check_pair(table, status, {**row.before, **row.values})


def needed_for_states(table: Table, columns: frozenset[str]) -> frozenset[str]:
    """Columns of the before image that an update of `columns` needs."""
    if columns.isdisjoint({STATE, STATUS}):
        return frozenset()
    return frozenset({STATE, STATUS} & table.column.keys())


def default_state(state: Column) -> int:
    """The state of a new row that gives none."""
    if state.default is not None:
        return int(state.default)
    return min((option.value for option in state.options), default=0)


def default_status(status: Column, state: int) -> int | None:
    """The status reason of a row in this state that gives none."""
    of_state = [option.value for option in status.options if option.state == state]
    if status.default in of_state:
        return int(status.default)
    return of_state[0] if of_state else None


def _check_pair(table: Table, status: Column, values: dict[str, Any]) -> None:
    reason, state = values.get(STATUS), values[STATE]
    option = next((option for option in status.options if option.value == reason), None)
    if option is None or option.state is None or option.state == state:
        return
    accepted = ",".join(str(option.value) for option in status.options if option.state == state)
    raise Rejected(
        f"{reason} is not a valid status code for state code {state} on table '{table.logical_name}': it belongs to "
        f"state {option.state}. Give one of {accepted}, or set statecode too.",
        code="state_mismatch",
        table=table.logical_name,
        column=STATUS,
    )
