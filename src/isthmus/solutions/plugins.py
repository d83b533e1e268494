"""Business logic that solutions bring along: `plugins.py` in a solution's folder, with one function `register`."""

from __future__ import annotations

import importlib
import importlib.util

from isthmus.dataverse.app import DataverseApp
from isthmus.finops.app import FinopsApp


def register_plugins(dataverse: DataverseApp, finops: FinopsApp) -> None:
    """Let every installed solution that has plug-ins register their steps on the two apps."""
    for name in dataverse.catalog.solutions:
        module = f"isthmus.solutions.{name}.plugins"
        if importlib.util.find_spec(f"isthmus.solutions.{name}") and importlib.util.find_spec(module):
            importlib.import_module(module).register(dataverse, finops)
