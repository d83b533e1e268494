"""From a query string to a bound statement: compiled once for each shape, then only its literals are read.

A shape is the query string without its literals, for one relation and one set of wire options. The plans of the shapes
used last are kept. A planner belongs to one version of the catalog; a new version gets a new planner.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from isthmus.errors import Bug, Rejected
from isthmus.query.dataverse_functions import NAMESPACE
from isthmus.query.literals import Literal, value_of
from isthmus.query.model import Caller, Dialect, Query, QueryColumn, Relations
from isthmus.query.odata import decode_options, parse_decoded, row_count_of
from isthmus.query.odata_lexer import shape_of
from isthmus.query.plan import Plan, compile_by_key, compile_count, compile_query, token_value
from isthmus.query.record_json import WireOptions
from isthmus.query.sql import Binding

MAX_TOKEN_CHARACTERS = 8_192


class Page(NamedTuple):
    """Records of one page as JSON objects with commas between them, and the token of the page that follows, if any."""

    records: str
    next_token: str | None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A statement with its values. Fetch `sql`, then cut the rows with `page`.

    `size` is the number of rows of the page, `remaining` how many the query may still give from this page on (None: no
    limit). `joined` says that the statement gives the whole page as one text.
    """

    plan: Plan
    sql: str
    arguments: list[Any]
    count_arguments: list[Any] = []
    size: int = 0
    remaining: int | None = None
    joined: bool = False
    digest: str = ""

    @property
    def count_sql(self) -> str | None:
        return self.plan.count_sql

    def page(self, rows: Sequence[Sequence[Any]]) -> Page:
        """The rows of this page; one more was fetched when another page may follow."""
        if self.joined:
            return Page(rows[0][0] or "", None)
        records = ",".join([row[0] for row in rows[: self.size]])
        if len(rows) <= self.size or self.size == 0:
            return Page(records, None)
        left = None if self.remaining is None else self.remaining - self.size
        return Page(records, write_token(self.digest, left, list(rows[self.size - 1][1:])))


class Planner:
    """Plans queries over the relations of one half."""

    def __init__(
        self,
        relations: Relations,
        dialect: Dialect,
        *,
        page_size: int = 5_000,
        count_limit: int | None = None,
        kept_plans: int = 2_000,
    ) -> None:
        """`page_size` is the largest page; `count_limit` the number beyond which nothing is counted."""
        self.relations = relations
        self._dialect: Dialect = dialect
        self._page_size = page_size
        self._count_limit = count_limit
        self._kept_plans = kept_plans
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()

    def ask(
        self,
        relation: str,
        query_string: str = "",
        wire: WireOptions = WireOptions(),  # noqa: B008  # frozen
        *,
        fixed: Mapping[str, Any] | None = None,
        page_size: int | None = None,
        caller: Caller | None = None,
    ) -> Asked:
        """A page of records.

        `fixed` are physical columns and the values (or literals of an address) they must have, such as the company.
        `page_size` is what the client prefers; with one, `$top` does not count, as in Dataverse. `relation` and the
        names in `fixed` are known to exist.
        """
        fixed = fixed or {}
        shape, literals, token = _read(query_string)
        digest, left, after = (None, None, None) if token is None else read_token(token)
        nulls = None if after is None else tuple(text is None for text in after)
        plan = self._plan(("page", relation, shape, wire, tuple(fixed), nulls), query_string, literals)
        expected = _digest(relation, shape)
        if digest is not None and digest != expected:
            raise Rejected("This $skiptoken belongs to another query.", code="invalid_skiptoken")
        size = self._page_size if page_size is None else max(1, min(page_size, self._page_size))
        if left is None and plan.top is not None and page_size is None and after is None:
            left = row_count_of(literals[plan.top.slot or 0])
        is_last = left is not None and left <= size
        # The number of rows is no parameter: not knowing it, PostgreSQL would plan the statement anew each time.
        sql = f"{plan.sql} limit {left if is_last else size + 1:d}"
        if is_last:
            # One text instead of a row per record is less work on both sides.
            sql = f"select string_agg(record, ',') from ({sql}) as page (record)"  # noqa: S608  (a plan's text)
        values = _Values(literals, self._fixed(relation, fixed), _token_values(plan, after), caller)
        return Asked(
            plan=plan,
            sql=sql,
            arguments=values.bound(plan.bindings),
            count_arguments=values.bound(plan.count_bindings),
            size=size if left is None else min(size, left),
            remaining=left,
            joined=is_last,
            digest=expected,
        )

    def ask_one(
        self,
        relation: str,
        key: Mapping[str, Any],
        query_string: str = "",
        wire: WireOptions = WireOptions(),  # noqa: B008  # frozen
        *,
        caller: Caller | None = None,
    ) -> Asked:
        """The record whose physical columns have the values (or literals of an address) of `key`."""
        shape, literals, _ = _read(query_string)
        plan = self._plan(("one", relation, shape, wire, tuple(key), None), query_string, literals)
        values = _Values(literals, self._fixed(relation, key), (), caller)
        return Asked(plan=plan, sql=plan.sql, arguments=values.bound(plan.bindings), size=1)

    def ask_count(
        self,
        relation: str,
        query_string: str = "",
        *,
        fixed: Mapping[str, Any] | None = None,
        caller: Caller | None = None,
    ) -> Asked:
        """The number of records, `/$count`: one row with one number."""
        fixed = fixed or {}
        shape, literals, _ = _read(query_string)
        plan = self._plan(("count", relation, shape, None, tuple(fixed), None), query_string, literals)
        values = _Values(literals, self._fixed(relation, fixed), (), caller)
        return Asked(plan=plan, sql=plan.sql, arguments=values.bound(plan.bindings))

    def _fixed(self, relation: str, fixed: Mapping[str, Any]) -> list[Any]:
        if not fixed:
            return []
        physical = self.relations[relation].physical
        return [given_value(value, physical[name]) for name, value in fixed.items()]

    def _plan(self, key: tuple[Any, ...], query_string: str, literals: list[str]) -> Plan:
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan
        plan = self._compile(key, query_string, literals)
        self._plans[key] = plan
        if len(self._plans) > self._kept_plans:
            self._plans.popitem(last=False)
        return plan

    def _compile(self, key: tuple[Any, ...], query_string: str, literals: list[str]) -> Plan:
        how, relation, _, wire, fixed, nulls = key
        options = [(name, text) for name, text in decode_options(query_string) if name.lower() != "$skiptoken"]
        query = parse_decoded(options, self.relations[relation], self.relations, self._dialect)
        self._check_slots(query, literals)
        if how == "one":
            return compile_by_key(query, self.relations, wire, fixed)
        if how == "count":
            return compile_count(query, self.relations, fixed=fixed, count_limit=self._count_limit)
        return compile_query(query, self.relations, wire, fixed=fixed, after=nulls, count_limit=self._count_limit)

    def _check_slots(self, query: Query, literals: list[str]) -> None:
        """The number of rows asked for is read from the literals here, so it must be where the parser saw it."""
        if query.top is not None and row_count_of(literals[query.top.slot or 0]) != query.top.value:
            raise Bug("The literals of a query were numbered in two ways.")


def given_value(value: Any, column: QueryColumn) -> Any:
    """`value` itself, or what it stands for beside the column when it is a literal of an address."""
    return value_of(value, column.kind, column).value if isinstance(value, Literal) else value


def with_token(query_string: str, token: str) -> str:
    """The query string of the next page: the same options, and the token of that page."""
    kept = [part for part in query_string.split("&") if part and not _is_token(part)]
    return "&".join([*kept, f"$skiptoken={token}"])


def _is_token(part: str) -> bool:
    name = part.partition("=")[0].lower()
    return name in ("$skiptoken", "%24skiptoken")


def write_token(digest: str, left: int | None, keys: list[str | None]) -> str:
    """The token of the page after the row with those order keys."""
    return base64.urlsafe_b64encode(json.dumps([digest, left, keys]).encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[str, int | None, list[str | None]]:
    """What `write_token` wrote. Rejected with code `invalid_skiptoken` when it is anything else."""
    try:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise ValueError
        decoded = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        digest, left, keys = msgspec.json.decode(decoded, type=tuple[str, int | None, list[str | None]])
        if (left is not None and left < 0) or any(key is not None and "\x00" in key for key in keys):
            raise ValueError
    except (ValueError, msgspec.DecodeError, msgspec.ValidationError):
        raise Rejected("This $skiptoken was not given by a page of this query.", code="invalid_skiptoken") from None
    return digest, left, keys


def _token_values(plan: Plan, after: list[str | None] | None) -> Sequence[Any]:
    if after is None:
        return ()
    try:
        return [
            None if text is None else token_value(kind, text)
            for kind, text in zip(plan.order_kinds, after, strict=True)
        ]
    except (Rejected, ValueError):
        raise Rejected("This $skiptoken was not given by a page of this query.", code="invalid_skiptoken") from None


def _read(query_string: str) -> tuple[str, list[str], str | None]:
    """Shape, literals and paging token of a query string."""
    if not query_string:
        return "", [], None
    token = None
    parts = []
    for name, text in decode_options(query_string):
        if name.lower() == "$skiptoken":
            token = text
        else:
            parts.append(f"{name}={text}")
    text = "\x00".join(parts)
    shape, literals = shape_of(text)
    # A query function names its property in a text: that one decides the SQL, and may stand behind an alias.
    return (text if NAMESPACE in shape else shape), literals, token


def _digest(relation: str, shape: str) -> str:
    return hashlib.blake2b(f"{relation}\x00{shape}".encode(), digest_size=6).hexdigest()


class _Values:
    """What parameters can be bound to."""

    def __init__(self, literals: list[str], fixed: Sequence[Any], token: Sequence[Any], caller: Caller | None) -> None:
        self._literals = literals
        self._fixed = fixed
        self._token = token
        self._caller = caller

    def bound(self, bindings: tuple[Binding, ...]) -> list[Any]:
        """The values of the parameters, in order."""
        return [self._value(binding) for binding in bindings]

    def _value(self, binding: Binding) -> Any:
        match binding.source:
            case "literal":
                literal = self._literals[binding.slot]
                return literal if binding.convert is None else binding.convert(literal)
            case "fixed":
                return self._fixed[binding.slot]
            case "token":
                return self._token[binding.slot]
            case "caller":
                if self._caller is None:
                    raise Bug("This query asks who calls, and no caller was given.", code="caller_missing")
                value = getattr(self._caller, binding.value)
                return list(value) if isinstance(value, tuple) else value
            case "constant":
                return binding.value
