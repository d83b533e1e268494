"""Query functions about time: for each, the moments just inside and just outside of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from tests.query.sample_relations import ACCOUNT, TABLES, account_id

from isthmus.query.dataverse_functions import RELATIVE_TIMES
from isthmus.query.odata import parse_filter
from isthmus.query.sql import compile_condition

Bounds = tuple[datetime | None, datetime | None]
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)


def day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def sunday(now: datetime) -> datetime:
    return day(now) - DAY * (now.isoweekday() % 7)


def months(moment: datetime, count: int) -> datetime:
    """That many months later; the last day of the month where the day does not exist."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + count, 12)
    first = moment.replace(year=year, month=month + 1, day=1)
    following = (first + 31 * DAY).replace(day=1)
    return first.replace(day=min(moment.day, (following - DAY).day))


def month(now: datetime) -> datetime:
    return day(now).replace(day=1)


def quarter(now: datetime) -> datetime:
    return month(now).replace(month=(now.month - 1) // 3 * 3 + 1)


def january(now: datetime) -> datetime:
    return month(now).replace(month=1)


def past(start: datetime, now: datetime) -> Bounds:
    return start, now + TICK


TIMES: dict[str, Callable[[datetime], Bounds]] = {
    "Yesterday": lambda now: (day(now) - DAY, day(now)),
    "Today": lambda now: (day(now), day(now) + DAY),
    "Tomorrow": lambda now: (day(now) + DAY, day(now) + 2 * DAY),
    "Last7Days": lambda now: past(day(now) - 7 * DAY, now),
    "Next7Days": lambda now: (now, day(now) + 8 * DAY),
    "LastWeek": lambda now: (sunday(now) - 7 * DAY, sunday(now)),
    "ThisWeek": lambda now: (sunday(now), sunday(now) + 7 * DAY),
    "NextWeek": lambda now: (sunday(now) + 7 * DAY, sunday(now) + 14 * DAY),
    "LastMonth": lambda now: (months(month(now), -1), month(now)),
    "ThisMonth": lambda now: (month(now), months(month(now), 1)),
    "NextMonth": lambda now: (months(month(now), 1), months(month(now), 2)),
    "LastYear": lambda now: (months(january(now), -12), january(now)),
    "ThisYear": lambda now: (january(now), months(january(now), 12)),
    "NextYear": lambda now: (months(january(now), 12), months(january(now), 24)),
    "LastXHours": lambda now: past(now - timedelta(hours=3), now),
    "NextXHours": lambda now: (now, now + timedelta(hours=3)),
    "LastXDays": lambda now: past(day(now) - 3 * DAY, now),
    "NextXDays": lambda now: (now, day(now) + 4 * DAY),
    "LastXWeeks": lambda now: past(day(now) - 21 * DAY, now),
    "NextXWeeks": lambda now: (now, day(now) + 22 * DAY),
    "LastXMonths": lambda now: past(months(day(now), -3), now),
    "NextXMonths": lambda now: (now, months(day(now), 3) + DAY),
    "LastXYears": lambda now: past(months(day(now), -36), now),
    "NextXYears": lambda now: (now, months(day(now), 36) + DAY),
    "OlderThanXMinutes": lambda now: (None, now - timedelta(minutes=3)),
    "OlderThanXHours": lambda now: (None, now - timedelta(hours=3)),
    "OlderThanXDays": lambda now: (None, day(now) - 3 * DAY),
    "OlderThanXWeeks": lambda now: (None, day(now) - 21 * DAY),
    "OlderThanXMonths": lambda now: (None, months(day(now), -3)),
    "OlderThanXYears": lambda now: (None, months(day(now), -36)),
    "LastFiscalYear": lambda now: (months(january(now), -12), january(now)),
    "ThisFiscalYear": lambda now: (january(now), months(january(now), 12)),
    "NextFiscalYear": lambda now: (months(january(now), 12), months(january(now), 24)),
    "LastFiscalPeriod": lambda now: (months(quarter(now), -3), quarter(now)),
    "ThisFiscalPeriod": lambda now: (quarter(now), months(quarter(now), 3)),
    "NextFiscalPeriod": lambda now: (months(quarter(now), 3), months(quarter(now), 6)),
    "LastXFiscalYears": lambda now: (months(january(now), -36), january(now)),
    "NextXFiscalYears": lambda now: (months(january(now), 12), months(january(now), 48)),
    "LastXFiscalPeriods": lambda now: (months(quarter(now), -9), quarter(now)),
    "NextXFiscalPeriods": lambda now: (months(quarter(now), 3), months(quarter(now), 12)),
}

FIXED = {"On", "OnOrAfter", "OnOrBefore", "InFiscalYear"}
PERIODS = {"InFiscalPeriodAndYear", "InOrAfterFiscalPeriodAndYear", "InOrBeforeFiscalPeriodAndYear"}


def test_every_function_is_tested() -> None:
    """Those with fixed dates are tested with the other filters."""
    assert set(TIMES) | FIXED | PERIODS == set(RELATIVE_TIMES)


@pytest.mark.parametrize("name", sorted(TIMES))
async def test_bounds(sample: asyncpg.Connection, name: str) -> None:
    takes_number = bool(RELATIVE_TIMES[name].largest)
    values = ",PropertyValue=3" if takes_number else ""
    text = f"Microsoft.Dynamics.CRM.{name}(PropertyName='createdon'{values})"
    transaction = sample.transaction()
    await transaction.start()
    try:
        now = (await sample.fetchval("select now()")).astimezone(UTC)
        start, end = TIMES[name](now)
        moments = [moment for bound in (start, end) if bound is not None for moment in (bound - TICK, bound)]
        await sample.execute("delete from sample.account")
        for number, moment in enumerate(moments):
            await sample.execute(
                "insert into sample.account (accountid, createdon) values ($1, $2)", account_id(number), moment
            )
        parameters: list[object] = []
        where = compile_condition(parse_filter(text, ACCOUNT, TABLES), "a", parameters)
        statement = f"select createdon from sample.account a where {where} order by accountid"
        found = [row[0] for row in await sample.fetch(statement, *parameters)]
    finally:
        await transaction.rollback()
    inside = [m for m in moments if (start is None or m >= start) and (end is None or m < end)]
    assert found == inside
    assert 0 < len(inside) < len(moments)


@pytest.mark.parametrize("name", sorted(name for name in TIMES if "Hours" not in name and "Minutes" not in name))
async def test_dates_alone(sample: asyncpg.Connection, name: str) -> None:
    """A column of dates answers as the days that lie in the time: today is past of the last days, not of the next."""
    values = ",PropertyValue=3" if RELATIVE_TIMES[name].largest else ""
    text = f"Microsoft.Dynamics.CRM.{name}(PropertyName='opendate'{values})"
    parameters: list[object] = []
    where = compile_condition(parse_filter(text, ACCOUNT, TABLES), "a", parameters)
    today = "(now() at time zone 'UTC')::date"
    rows = f"(select {today} + n as opendate from generate_series(-2000, 2000) n) a"
    found = await sample.fetch(f"select opendate - {today} from {rows} where {where} order by 1", *parameters)
    days = [row[0] for row in found]
    assert days == list(range(days[0], days[-1] + 1))
    if name.startswith("Next") or name == "Tomorrow":
        assert 0 not in days
    if name.startswith(("LastX", "Last7")) and "Fiscal" not in name:
        assert 0 in days
    if name.startswith(("This", "Today")):
        assert 0 in days
