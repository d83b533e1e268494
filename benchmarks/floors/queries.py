"""What the floors ask PostgreSQL."""

from __future__ import annotations

import asyncpg

COLUMNS = (
    "accountid, accountnumber, name, creditlimit, telephone1, websiteurl, emailaddress1, statecode, statuscode, "
    "createdon, modifiedon, versionnumber"
)
ONE = f"select row_to_json(r)::text from (select {COLUMNS} from dataverse.account where accountid = $1) r"
PAGE = (
    f"select coalesce(json_agg(r), '[]')::text from (select {COLUMNS} from dataverse.account "
    "where creditlimit > $1 order by accountid limit 50) r"
)
NEW = (
    "insert into dataverse.task (activityid, subject, description, createdon, modifiedon, statecode, statuscode) "
    "values ($1, $2, $3, now(), now(), 0, 2) returning row_to_json(task)::text"
)


async def pool(dsn: str) -> asyncpg.Pool:
    return await asyncpg.create_pool(dsn, min_size=4, max_size=20, statement_cache_size=100)
