"""The `Prefer` header, in the forms that clients send it."""

from __future__ import annotations

import pytest

from isthmus.dataverse.webapi.preferences import MAX_PAGE_SIZE, read_preferences


@pytest.mark.parametrize(
    ("header", "representation", "annotations", "page_size"),
    [
        (b"return=representation", True, (), MAX_PAGE_SIZE),
        (b"return=minimal", False, (), MAX_PAGE_SIZE),
        (b'odata.include-annotations="*"', False, ("*",), MAX_PAGE_SIZE),
        (b"odata.include-annotations=*,odata.maxpagesize=5", False, ("*",), 5),
        (b"odata.maxpagesize=3, odata.include-annotations=A.b,C.d*", False, ("A.b", "C.d*"), 3),
        (b'return=representation;odata.include-annotations="a,b*"', True, ("a", "b*"), MAX_PAGE_SIZE),
        (b"odata.include-annotations=a,b,return=representation", True, ("a", "b"), MAX_PAGE_SIZE),
        (b"respond-async, odata.maxpagesize=99999", False, (), MAX_PAGE_SIZE),
        (b"odata.maxpagesize=0", False, (), MAX_PAGE_SIZE),
        (b"odata.maxpagesize=x", False, (), MAX_PAGE_SIZE),
        (b"", False, (), MAX_PAGE_SIZE),
    ],
)
def test_preferences(header: bytes, representation: bool, annotations: tuple[str, ...], page_size: int) -> None:
    found = read_preferences(header)
    assert (found.representation, found.annotations, found.page_size) == (representation, annotations, page_size)


def test_annotations_are_wanted_by_name_or_pattern() -> None:
    found = read_preferences(b'odata.include-annotations="Microsoft.Dynamics.CRM.*,OData.X"')
    assert found.wants("Microsoft.Dynamics.CRM.lookuplogicalname")
    assert found.wants("OData.X")
    assert not found.wants("OData.Xy")
