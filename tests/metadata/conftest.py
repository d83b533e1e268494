"""The shipped catalog, to be read and to be spoilt."""

from __future__ import annotations

import pytest
from tests.support.spoiled import Spoiled

from isthmus import solutions
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.loading import load


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """All shipped definitions, read from their files."""
    return load(solutions.folders())


@pytest.fixture
def spoiled(catalog: Catalog) -> Spoiled:
    return Spoiled(catalog)
