"""Run one floor: `python -m benchmarks.floors thin|with_fastapi|with_litestar PORT DSN`."""

from __future__ import annotations

import importlib
import sys

import uvicorn


def main() -> None:
    name, port, dsn = sys.argv[1:]
    app = importlib.import_module(f"benchmarks.floors.{name}").build(dsn)
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", log_level="error", access_log=False
    )


main()
