"""Names of properties in OData queries: columns, paths, and collections, found in the relation they are asked of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from isthmus.errors import Rejected
from isthmus.query.literals import mismatch
from isthmus.query.model import Navigation, Path, QueryColumn, Relation, Relations
from isthmus.query.odata_syntax import PathSyntax

MAX_LAMBDA_DEPTH = 5
"""Each level is one more loop over rows."""


def find_column(relation: Relation, name: str) -> QueryColumn:
    """The column of that wire name, whatever its case. Rejected with code `property_not_found`."""
    column = relation.columns.get(name.lower())
    if column is not None:
        return column
    hint = (
        f"; for the id of the lookup use _{name.lower()}_value" if f"_{name.lower()}_value" in relation.columns else ""
    )
    raise Rejected(
        f"Could not find a property named '{name}' on '{relation.name}'{hint}.",
        code="property_not_found",
        property=name,
        relation=relation.name,
    )


def find_navigation(relation: Relation, name: str) -> Navigation:
    """The navigation property of that name, whatever its case. Rejected with code `property_not_found`."""
    navigation = relation.navigations.get(name.lower())
    if navigation is None:
        raise Rejected(
            f"Could not find a navigation property named '{name}' on '{relation.name}'.",
            code="property_not_found",
            property=name,
            relation=relation.name,
        )
    return navigation


class _Scope(msgspec.Struct, frozen=True):
    """What names after a lambda's variable are looked up in; the outermost scope has no variable."""

    variable: str | None
    relation: Relation


class NameBinder:
    """Finds the names of one query, and knows which variables stand for which relations."""

    def __init__(self, relation: Relation, relations: Relations) -> None:
        self._scopes = [_Scope(None, relation)]
        self._relations = relations

    @contextmanager
    def inside(self, variable: str, collection: Navigation) -> Iterator[None]:
        """Within it, `variable` stands for a member of the collection."""
        if len(self._scopes) > MAX_LAMBDA_DEPTH:
            raise Rejected(f"any and all are nested at most {MAX_LAMBDA_DEPTH} deep.", code="query_too_complex")
        self._scopes.append(_Scope(variable, self._target(collection)))
        yield
        self._scopes.pop()

    def path(self, node: PathSyntax, *, logical: bool = False) -> Path:
        """The column at the end of a path of single-valued navigation properties.

        With `logical`, a lookup may go by its logical name too (`ownerid`), as in Dataverse's query functions.
        """
        outer, relation, names = self._start(node)
        if not names:
            raise mismatch(f"{node.names[0]} is a whole row; name one of its properties.")
        navigations, relation = self._followed(relation, names[:-1])
        column = relation.columns.get(names[-1].lower()) or _lookup_behind(relation, names[-1])
        if column is None and logical:
            column = relation.physical.get(names[-1].lower())
        if column is None:
            column = find_column(relation, names[-1])
        return Path(navigations, column, outer, relation.no_null)

    def collection(self, node: PathSyntax, how: str) -> tuple[int, tuple[Navigation, ...], Navigation]:
        """The collection that `any` or `all` asks about: where its path begins, the way to it, and itself."""
        outer, relation, names = self._start(node)
        through, relation = self._followed(relation, names[:-1])
        collection = find_navigation(relation, names[-1]) if names else None
        if collection is None or not collection.many:
            raise mismatch(f"{'/'.join(node.names)} is no collection; {how} asks about the members of one.")
        self._target(collection)
        return outer, through, collection

    def _start(self, node: PathSyntax) -> tuple[int, Relation, tuple[str, ...]]:
        """How many scopes outwards a path begins, in which relation, and the names that follow."""
        first = node.names[0]
        for outwards, scope in enumerate(reversed(self._scopes)):
            if scope.variable is not None and scope.variable == first:
                return outwards, scope.relation, node.names[1:]
        names = node.names[1:] if first.lower() == "$it" else node.names
        return len(self._scopes) - 1, self._scopes[0].relation, names

    def _followed(self, relation: Relation, names: tuple[str, ...]) -> tuple[tuple[Navigation, ...], Relation]:
        """The single-valued navigation properties of a path, and the relation they end in."""
        navigations = []
        for name in names:
            if name.lower() not in relation.navigations and name.lower() in relation.columns:
                raise mismatch(f"{name} holds a value; nothing can follow it in a path.")
            navigation = find_navigation(relation, name)
            if navigation.many:
                raise mismatch(f"{name} has many members; ask about them with {name}/any(o:...).")
            navigations.append(navigation)
            relation = self._target(navigation)
        return tuple(navigations), relation

    def _target(self, navigation: Navigation) -> Relation:
        """Where a navigation property leads. Rejected where a query is asked of one relation alone, as map filters."""
        relation = self._relations.get(navigation.target)
        if relation is None:
            asked = self._scopes[0].relation.name
            raise Rejected(
                f"'{navigation.name}' leads to '{navigation.target}', and only '{asked}' itself can be asked about "
                "here: name one of its own properties.",
                code="property_not_found",
                property=navigation.name,
                relation=asked,
            )
        return relation


def _lookup_behind(relation: Relation, name: str) -> QueryColumn | None:
    """The lookup column that a single-valued navigation property follows: `primarycontactid eq null` asks about it.

    None for one of several that follow the same lookup, each to rows of its own relation.
    """
    navigation = relation.navigations.get(name.lower())
    if navigation is None or navigation.many or navigation.where or len(navigation.on) != 1:
        return None
    return relation.physical.get(navigation.on[0][1])
