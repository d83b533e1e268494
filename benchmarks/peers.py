"""The peers of benchmarks.initial_sync: each copies the table `floor.rows` into a table `account` that stands already.

`with_dlt` is run by the Python that dlt is installed for (`python peers.py <source> <destination>`, both addresses of
databases): it prints the seconds that it took, as ingestr's own report does for `with_ingestr`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = ("floor", "rows")
KEY = "accountid"


def with_dlt(source: str, destination: str) -> float:
    """Append by dlt: pages of Arrow, loaded as CSV by COPY. It can't merge here, where ids are GUIDs."""
    import dlt
    from dlt.sources.sql_database import sql_table

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        target = dlt.destinations.postgres(destination)
        pipeline = dlt.pipeline("peer", destination=target, dataset_name="peer_dlt", pipelines_dir=folder)
        credentials = source.replace("postgresql:", "postgresql+psycopg2:")
        table = sql_table(credentials, table=SOURCE[1], schema=SOURCE[0], backend="pyarrow", chunk_size=50_000)
        table.apply_hints(table_name="account", write_disposition="append")
        pipeline.run(table, loader_file_format="csv")
    return time.perf_counter() - began


def with_ingestr(program: Path, source: str, destination: str, guids: list[str]) -> float:
    """Merge by ingestr, as an initial sync does: what stands already is updated, by its id."""
    columns = ",".join(f"{name}:uuid" for name in guids)
    began = time.perf_counter()
    subprocess.run(
        [
            *(str(program), "ingest", "--yes", "--progress", "log"),
            *("--source-uri", source, "--source-table", ".".join(SOURCE)),
            *("--dest-uri", destination, "--dest-table", "peer_ingestr.account"),
            *("--incremental-strategy", "merge", "--primary-key", KEY, "--columns", columns),
        ],
        env={**os.environ, "INGESTR_DISABLE_TELEMETRY": "true"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    print(with_dlt(sys.argv[1], sys.argv[2]))
