"""OData query options: `$filter`, `$orderby`, `$select`, `$expand`, `$top`, `$skip`, `$count` of both halves.

`docs/reference/odata_support.md` lists what each half understands. Errors are Rejected, with code `query_syntax` (and
the position), `property_not_found`, `type_mismatch`, `unknown_function`, `unknown_option`, `not_supported`,
`query_too_complex` or `expand_too_large`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

import msgspec

from isthmus.errors import Rejected
from isthmus.query.literals import Literal, integer_of
from isthmus.query.model import (
    Condition,
    Dialect,
    Expand,
    Kind,
    Query,
    QueryColumn,
    Relation,
    Relations,
    Value,
)
from isthmus.query.odata_conditions import ConditionBinder, names_of
from isthmus.query.odata_lexer import count_literals, syntax_error
from isthmus.query.odata_names import find_column, find_navigation
from isthmus.query.odata_syntax import (
    ExpandSyntax,
    NameSyntax,
    OptionsSyntax,
    Syntax,
    read_condition,
    read_expand,
    read_orderby,
    read_select,
    read_value,
)

MAX_QUERY_CHARACTERS = 65_536
"""Dataverse's limit of an address inside a batch; outside it is half of it."""
MAX_EXPAND_DEPTH = 5
MAX_EXPANDS = 15
"""Navigation properties of one query, nested ones included: Dataverse's limit."""
MAX_ROWS = 2**31 - 1
"""Largest `$top` and `$skip`."""

_REFUSED = {
    "$apply": "aggregation is not supported",
    "$search": "use $filter with contains",
    "$format": "answers are JSON",
    "$compute": "it is not part of OData 4.0",
    "$levels": "name each level",
    "$deltatoken": "change tracking is not supported",
}


class Option(msgspec.Struct, frozen=True):
    """One query option, decoded. `first_slot` is the number of the first literal in `text`."""

    name: str
    text: str
    first_slot: int


def parse_filter(text: str, relation: Relation, relations: Relations, dialect: Dialect = "dataverse") -> Condition:
    """The condition that the text of a `$filter` asks of `relation`."""
    _check_text(text)
    return ConditionBinder(relation, relations, dialect).condition(read_condition(text))


def parse_filter_syntax(text: str) -> set[str]:
    """Names of the properties a `$filter` uses, as written; Rejected when it cannot be read. Needs no relation."""
    _check_text(text)
    return names_of(read_condition(text))


def parse_options(query_string: str, relation: Relation, relations: Relations, dialect: Dialect = "dataverse") -> Query:
    """The query that the query string of an address asks of `relation`. Options without `$` are left to others."""
    return parse_decoded(decode_options(query_string), relation, relations, dialect)


def parse_decoded(
    options: Iterable[tuple[str, str]], relation: Relation, relations: Relations, dialect: Dialect
) -> Query:
    """As `parse_options`, of options that `decode_options` has split. `$skiptoken` is left to the pager."""
    given: dict[str, Option] = {}
    slot = 0
    for name, text in options:
        key = name.lower()
        if key in given:
            raise Rejected(f"The option {name} stands twice.", code="query_syntax", option=name)
        given[key] = Option(key, text, slot)
        slot += count_literals(text)
    aliases = {key: read_value(option.text, option.first_slot) for key, option in given.items() if key.startswith("@")}
    return _Binder(relations, dialect, aliases).query(relation, _read(given, dialect))


def decode_options(query_string: str) -> list[tuple[str, str]]:
    """System query options and parameter aliases, decoded, in order, names as given.

    Rejected when the text is too long, no UTF-8, or holds NUL.
    """
    if len(query_string) > MAX_QUERY_CHARACTERS:
        raise Rejected(
            f"The query has {len(query_string):,} characters; at most {MAX_QUERY_CHARACTERS:,} are read.",
            code="query_too_complex",
        )
    options = []
    encoded = "%" in query_string or "+" in query_string
    for part in query_string.split("&"):
        name, _, text = part.partition("=")
        if encoded:
            name, text = decode_text(name, plus=True), decode_text(text, plus=True)
        name = name.strip()
        if name[:1] in ("$", "@"):
            options.append((name, text))
    for _, text in options:
        _check_text(text)
    return options


def decode_text(text: str, *, plus: bool) -> str:
    """Percent-encoded text, decoded; with `plus`, `+` is a space. Rejected when it is no UTF-8."""
    if plus:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Rejected("The address is not UTF-8.", code="query_syntax") from None


def _check_text(text: str) -> None:
    if len(text) > MAX_QUERY_CHARACTERS:
        raise Rejected(f"At most {MAX_QUERY_CHARACTERS:,} characters are read.", code="query_too_complex")
    if "\x00" in text or "\x01" in text:
        raise Rejected("The query holds a control character that no text may hold.", code="query_syntax")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Rejected("The query is not UTF-8.", code="query_syntax") from None


def _read(given: Mapping[str, Option], dialect: Dialect) -> OptionsSyntax:
    values: dict[str, object] = {}
    for name, option in given.items():
        if name.startswith("@") or name == "$skiptoken":
            continue
        text, slot = option.text, option.first_slot
        match name:
            case "$filter":
                values["filter"] = read_condition(text, slot) if text.strip() else None
            case "$orderby":
                values["orderby"] = read_orderby(text, slot) if text.strip() else ()
            case "$select":
                values["select"] = read_select(text) if text.strip() else None
            case "$expand":
                values["expand"] = read_expand(text, slot) if text.strip() else ()
            case "$top":
                values["top"] = _number(name, text, slot)
            case "$skip" if dialect == "finops":
                values["skip"] = _number(name, text, slot)
            case "$count":
                values["count"] = _truth(name, text)
            case "$skip":
                raise _refused(name, "follow @odata.nextLink")
            case _:
                raise _refused(name, _REFUSED.get(name))
    return msgspec.structs.replace(OptionsSyntax(), **values)


def _refused(name: str, advice: str | None) -> Rejected:
    if advice is None:
        return Rejected(f"There is no query option {name}.", code="unknown_option", option=name)
    return Rejected(f"The query option {name} is not supported: {advice}.", code="not_supported", option=name)


def _number(name: str, text: str, slot: int) -> Literal:
    stripped = text.strip()
    literal = Literal("integer", stripped, slot)
    if not stripped.isascii() or not stripped.isdigit():
        raise Rejected(f"{name} must be a whole number, not '{text[:50]}'.", code="query_syntax", option=name)
    return literal


def row_count_of(raw: str) -> int:
    """A number of rows, as `$top` and `$skip` give it."""
    number = integer_of(raw)
    if not 0 <= number <= MAX_ROWS:
        raise Rejected(f"{raw} is not a number of rows from 0 to {MAX_ROWS:,}.", code="query_syntax")
    return number


def _truth(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise Rejected(f"{name} must be true or false, not '{text[:50]}'.", code="query_syntax", option=name)
    return word == "true"


class _Binder:
    """Binds options to relations, following `$expand`."""

    def __init__(self, relations: Relations, dialect: Dialect, aliases: Mapping[str, Syntax]) -> None:
        self._relations = relations
        self._dialect = dialect
        self._aliases = aliases
        self._expands = 0

    def query(self, relation: Relation, options: OptionsSyntax, depth: int = 0) -> Query:
        """The query that options ask of a relation."""
        binder = ConditionBinder(relation, self._relations, self._dialect, self._aliases)
        return Query(
            relation=relation.name,
            select=None if options.select is None else self._select(relation, options.select),
            where=None if options.filter is None else binder.condition(options.filter),
            order=binder.orders(options.orderby),
            expand=self._expand(relation, options.expand, depth),
            top=_rows(options.top),
            skip=_rows(options.skip),
            count=options.count,
        )

    def _select(self, relation: Relation, names: tuple[NameSyntax, ...]) -> tuple[QueryColumn, ...] | None:
        if any(item.name == "*" for item in names):
            return None
        columns: dict[str, QueryColumn] = {}
        for item in names:
            if item.name.lower() in relation.navigations and item.name.lower() not in relation.columns:
                if self._dialect == "finops":
                    continue
                raise Rejected(
                    f"'{item.name}' is a navigation property; include it with $expand={item.name}.",
                    code="property_not_found",
                    property=item.name,
                    relation=relation.name,
                )
            column = find_column(relation, item.name)
            columns[column.name] = column
        return tuple(columns.values())

    def _expand(self, relation: Relation, expansions: tuple[ExpandSyntax, ...], depth: int) -> tuple[Expand, ...]:
        found: dict[str, Expand] = {}
        for item in expansions:
            self._expands += 1
            if self._expands > MAX_EXPANDS or depth + 1 > MAX_EXPAND_DEPTH:
                raise Rejected(
                    f"A query expands at most {MAX_EXPANDS} navigation properties, {MAX_EXPAND_DEPTH} deep.",
                    code="expand_too_large",
                )
            if item.name == "*" or item.reference_only:
                raise Rejected("$expand takes names of navigation properties, without /$ref.", code="not_supported")
            navigation = find_navigation(relation, item.name)
            if navigation.name in found:
                raise syntax_error(f"{item.name} stands twice in $expand", item.name, 0)
            query = self.query(self._relations[navigation.target], item.options, depth=depth + 1)
            if not navigation.many and (query.where or query.order or query.top or query.skip or query.count):
                raise Rejected(
                    f"{item.name} is one row: its $expand takes $select and $expand only.", code="not_supported"
                )
            found[navigation.name] = Expand(navigation=navigation, query=query)
        return tuple(found.values())


def _rows(literal: Literal | None) -> Value | None:
    if literal is None:
        return None
    return Value(row_count_of(literal.text), Kind.BIG_INT, literal.slot, row_count_of)
