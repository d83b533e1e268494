"""`isthmus doctor`: look into the databases of an environment."""

from __future__ import annotations

import asyncio

from isthmus import config
from isthmus.cli.options import DataDir


def doctor(*, data_dir: DataDir = None) -> int:
    """List prepared transactions, their age and what will become of them. Exit code 1 when recovery has left one."""
    from isthmus.environments.doctor import main_report

    return asyncio.run(main_report(config.load({"data_dir": data_dir})))
