"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

DataDir = Annotated[
    Path | None, Parameter(help="Directory the environment lives in (default ./.isthmus, or ISTHMUS_DATA_DIR).")
]
