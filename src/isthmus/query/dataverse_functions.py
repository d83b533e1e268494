"""Query functions of Dataverse, `Microsoft.Dynamics.CRM.*`, used in `$filter` and as operators in FetchXML.

Names and parameters are those of the Web API's query function reference. Days, weeks (from Sunday), months and years
are those of UTC. The fiscal year is the calendar year in four periods, Dataverse's default.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from isthmus.query.literals import integer_of, mismatch
from isthmus.query.model import Kind

NAMESPACE = "Microsoft.Dynamics.CRM."

_TODAY = "(now() at time zone 'UTC')::date"
_WEEK = f"({_TODAY} - extract(dow from {_TODAY})::integer)"


class RelativeTime(msgspec.Struct, frozen=True):
    """A function true for moments from `start` (inclusive) to `end` (exclusive).

    Both are SQL over `{0}`, `{1}`: dates, or moments when they name now(). None is open. `largest` bounds each number
    argument, so that no date leaves the calendar; `dates` says that the argument is a date instead.
    """

    start: str | None
    end: str | None
    largest: tuple[int, ...] = ()
    dates: bool = False


def _truncated(unit: str, offset: int) -> str:
    moved = f"date_trunc('{unit}', {_TODAY}::timestamp)"
    step = "3 months" if unit == "quarter" else f"1 {unit}"
    return f"({moved} + {offset} * interval '{step}')::date"


def _period(unit: str, offset: int) -> RelativeTime:
    return RelativeTime(_truncated(unit, offset), _truncated(unit, offset + 1))


def _ago(step: str) -> str:
    return f"({_TODAY} - {{0}}::integer * interval '{step}')::date"


def _ahead(step: str) -> str:
    return f"({_TODAY} + {{0}}::integer * interval '{step}')::date + 1"


def _fiscal(unit: str, sign: str) -> RelativeTime:
    step = "3 months" if unit == "quarter" else "1 year"
    this, following = _truncated(unit, 0), _truncated(unit, 1)
    if sign == "-":
        return RelativeTime(f"({this} - {{0}}::integer * interval '{step}')::date", this, (1000,))
    return RelativeTime(following, f"({following} + {{0}}::integer * interval '{step}')::date", (1000,))


_FISCAL_START = "(make_date({1}::integer, 1, 1) + ({0}::integer - 1) * interval '3 months')::date"
_FISCAL_END = "(make_date({1}::integer, 1, 1) + {0}::integer * interval '3 months')::date"

_DAYS, _WEEKS, _MONTHS, _YEARS, _HOURS, _MINUTES = 365_000, 52_000, 12_000, 1_000, 8_760_000, 525_600_000
_NOW = "now()"

RELATIVE_TIMES: dict[str, RelativeTime] = {
    "Yesterday": RelativeTime(f"({_TODAY} - 1)", _TODAY),
    "Today": RelativeTime(_TODAY, f"({_TODAY} + 1)"),
    "Tomorrow": RelativeTime(f"({_TODAY} + 1)", f"({_TODAY} + 2)"),
    "Last7Days": RelativeTime(f"({_TODAY} - 7)", _NOW),
    "Next7Days": RelativeTime(_NOW, f"({_TODAY} + 8)"),
    "LastWeek": RelativeTime(f"({_WEEK} - 7)", _WEEK),
    "ThisWeek": RelativeTime(_WEEK, f"({_WEEK} + 7)"),
    "NextWeek": RelativeTime(f"({_WEEK} + 7)", f"({_WEEK} + 14)"),
    "LastMonth": _period("month", -1),
    "ThisMonth": _period("month", 0),
    "NextMonth": _period("month", 1),
    "LastYear": _period("year", -1),
    "ThisYear": _period("year", 0),
    "NextYear": _period("year", 1),
    "LastXHours": RelativeTime("now() - {0}::integer * interval '1 hour'", _NOW, (_HOURS,)),
    "NextXHours": RelativeTime(_NOW, "now() + {0}::integer * interval '1 hour'", (_HOURS,)),
    "LastXDays": RelativeTime(_ago("1 day"), _NOW, (_DAYS,)),
    "NextXDays": RelativeTime(_NOW, _ahead("1 day"), (_DAYS,)),
    "LastXWeeks": RelativeTime(_ago("1 week"), _NOW, (_WEEKS,)),
    "NextXWeeks": RelativeTime(_NOW, _ahead("1 week"), (_WEEKS,)),
    "LastXMonths": RelativeTime(_ago("1 month"), _NOW, (_MONTHS,)),
    "NextXMonths": RelativeTime(_NOW, _ahead("1 month"), (_MONTHS,)),
    "LastXYears": RelativeTime(_ago("1 year"), _NOW, (_YEARS,)),
    "NextXYears": RelativeTime(_NOW, _ahead("1 year"), (_YEARS,)),
    "OlderThanXMinutes": RelativeTime(None, "now() - {0}::integer * interval '1 minute'", (_MINUTES,)),
    "OlderThanXHours": RelativeTime(None, "now() - {0}::integer * interval '1 hour'", (_HOURS,)),
    "OlderThanXDays": RelativeTime(None, _ago("1 day"), (_DAYS,)),
    "OlderThanXWeeks": RelativeTime(None, _ago("1 week"), (_WEEKS,)),
    "OlderThanXMonths": RelativeTime(None, _ago("1 month"), (_MONTHS,)),
    "OlderThanXYears": RelativeTime(None, _ago("1 year"), (_YEARS,)),
    "On": RelativeTime("{0}", "({0} + 1)", dates=True),
    "OnOrAfter": RelativeTime("{0}", None, dates=True),
    "OnOrBefore": RelativeTime(None, "({0} + 1)", dates=True),
    "LastFiscalYear": _period("year", -1),
    "ThisFiscalYear": _period("year", 0),
    "NextFiscalYear": _period("year", 1),
    "LastFiscalPeriod": _period("quarter", -1),
    "ThisFiscalPeriod": _period("quarter", 0),
    "NextFiscalPeriod": _period("quarter", 1),
    "LastXFiscalYears": _fiscal("year", "-"),
    "NextXFiscalYears": _fiscal("year", "+"),
    "LastXFiscalPeriods": _fiscal("quarter", "-"),
    "NextXFiscalPeriods": _fiscal("quarter", "+"),
    "InFiscalYear": RelativeTime(
        "make_date({0}::integer, 1, 1)", "(make_date({0}::integer, 1, 1) + interval '1 year')::date", (9999,)
    ),
    "InFiscalPeriodAndYear": RelativeTime(_FISCAL_START, _FISCAL_END, (4, 9999)),
    "InOrAfterFiscalPeriodAndYear": RelativeTime(_FISCAL_START, None, (4, 9999)),
    "InOrBeforeFiscalPeriodAndYear": RelativeTime(None, _FISCAL_END, (4, 9999)),
}
"""The last X days run from midnight X days ago until now, the next X from now until midnight after the Xth day."""

CALLER_COMPARISONS = {
    "EqualUserId": ("eq", "user_id", Kind.UUID),
    "NotEqualUserId": ("ne", "user_id", Kind.UUID),
    "EqualBusinessId": ("eq", "business_unit_id", Kind.UUID),
    "NotEqualBusinessId": ("ne", "business_unit_id", Kind.UUID),
    "EqualUserLanguage": ("eq", "language", Kind.BIG_INT),
}
"""Functions that compare the column with something about the caller."""

UNSUPPORTED = frozenset(
    {
        *("Above", "AboveOrEqual", "Under", "UnderOrEqual", "NotUnder"),
        *("EqualUserOrUserHierarchy", "EqualUserOrUserHierarchyAndTeams", "EqualRoleBusinessId"),
    }
)
"""Functions that need a hierarchy of rows, users or business units; refused by name."""


def number_up_to(largest: int) -> Callable[[str], int]:
    """A converter of whole numbers from 0 to `largest` (from 1, when it counts years of the calendar or periods)."""
    least = 1 if largest in (4, 9999) else 0

    def convert(raw: str) -> int:
        number = integer_of(raw)
        if not least <= number <= largest:
            raise mismatch(f"{raw} is not a number from {least} to {largest:,}.")
        return number

    return convert


def time_sql(function: RelativeTime, column: str, kind: Kind, arguments: list[str]) -> str:
    """The condition that the moment or date in SQL `column` lies in the time of the function."""
    parts = []
    if function.start is not None:
        operator = ">" if function.start == _NOW and kind is Kind.DATE else ">="
        parts.append(f"{column} {operator} {_bound(function.start.format(*arguments), kind)}")
    if function.end is not None:
        operator = "<=" if function.end == _NOW else "<"
        parts.append(f"{column} {operator} {_bound(function.end.format(*arguments), kind)}")
    return "(" + " and ".join(parts) + ")"


def _bound(expression: str, kind: Kind) -> str:
    """A bound as something that compares with the column: moments for moments, dates for dates."""
    is_moment = expression.startswith(_NOW)
    if kind is Kind.DATE:
        return f"(({expression}) at time zone 'UTC')::date" if is_moment else f"({expression})"
    return f"({expression})" if is_moment else f"(({expression})::timestamp at time zone 'UTC')"
