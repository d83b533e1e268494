"""Relationships of Dataverse tables: one-to-many (and, seen from the other end, many-to-one) and many-to-many."""

from __future__ import annotations

from typing import Literal

import msgspec

CascadeType = Literal["NoCascade", "Cascade", "Active", "UserOwned", "RemoveLink", "Restrict"]


class Cascade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to referencing rows when the referenced row is assigned, deleted, merged, reparented, shared."""

    assign: CascadeType = "NoCascade"
    delete: CascadeType = "RemoveLink"
    merge: CascadeType = "NoCascade"
    reparent: CascadeType = "NoCascade"
    share: CascadeType = "NoCascade"
    unshare: CascadeType = "NoCascade"


class OneToMany(msgspec.Struct, frozen=True, kw_only=True):
    """`referenced` is the "one" table, `referencing` the "many" table that holds the lookup column `column`.

    `lookup_navigation` is the single-valued navigation property on the referencing table, `collection_navigation` the
    collection-valued one on the referenced table.
    """

    schema_name: str
    referenced: str
    referencing: str
    column: str
    lookup_navigation: str
    collection_navigation: str
    cascade: Cascade = Cascade()


class ManyToMany(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A many-to-many relationship with its intersect table; each side has a collection-valued navigation property."""

    schema_name: str
    intersect: str
    first: str
    first_navigation: str
    second: str
    second_navigation: str
