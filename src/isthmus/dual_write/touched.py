"""Which records of which legs the changes of a save concern, and what is new in them to the partner."""

from __future__ import annotations

import msgspec

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import Context
from isthmus.dual_write.exchange import Exchange, RowId
from isthmus.dual_write.leg import Leg


class Touched(msgspec.Struct):
    """Records of one leg that a transaction touched: root id -> destination values to send, None for all of them."""

    upserts: dict[RowId, set[str] | None] = {}
    deletes: list[RowId] = []


class News(msgspec.Struct, frozen=True):
    """What a leg's destination has not seen of a change: the destination values that follow from it, or everything."""

    values: frozenset[str]
    everything: bool

    def __or__(self, other: News) -> News:
        return News(self.values | other.values, self.everything or other.everything)


NOTHING_NEW = News(frozenset(), False)


async def touched_by(exchange: Exchange, context: Context, changes: list[Change]) -> dict[str, Touched]:
    """Which records of which legs these changes concern, and which destination values follow from them."""
    touched: dict[str, Touched] = {}
    elsewhere: dict[tuple[str, str], dict[RowId, News]] = {}
    for change in changes:
        for leg in exchange.legs.of_table(context.half, change.table):
            if change.operation is Operation.DELETE:
                if change.table == leg.root and change.through != leg.name:
                    touched.setdefault(leg.name, Touched()).deletes.append(change.id)
                continue
            news = _news_of(leg, change)
            if news is None:
                continue
            if change.table == leg.root:
                _add(touched.setdefault(leg.name, Touched()), change.id, news)
            else:
                rows = elsewhere.setdefault((leg.name, change.table), {})
                rows[change.id] = rows.get(change.id, NOTHING_NEW) | news
    for (name, table), rows in elsewhere.items():
        leg = exchange.legs.by_map[name, context.half]
        for record in await context.transaction.rows(leg.roots[table], list(rows)):
            _add(touched.setdefault(name, Touched()), record["root"], rows[record["id"]])
    return touched


def _news_of(leg: Leg, change: Change) -> News | None:
    """What is new to the leg's destination; None when the change does not concern it.

    A value that the destination sent itself is no news to it. What goes this way only is, and so is all that the
    source shows because of it.
    """
    is_echo = change.through == leg.name
    is_created = change.operation is Operation.CREATE and change.table == leg.root
    if is_created and not is_echo:
        return News(frozenset(), True)
    values: set[str] = set(leg.one_way) if is_created else set()
    everything = concerned = False
    triggers = leg.triggers.get(change.table, {})
    for column in change.columns & triggers.keys():
        outputs = triggers[column]
        if is_echo and column in change.given:
            outputs &= leg.one_way
            if not outputs:
                continue
        concerned = True
        values |= outputs
        everything = everything or (change.table, column) in leg.filter_columns
    shown = leg.shown_by.get(change.table, {})
    values.update(*(shown[column] for column in change.columns & shown.keys()))
    if not concerned and not values:
        return None
    return News(frozenset(values), everything)


def _add(touched: Touched, root: RowId, news: News) -> None:
    known = touched.upserts.get(root, set())
    touched.upserts[root] = None if news.everything or known is None else known | news.values
