"""Clients that write both halves of the same customers, over HTTP, and keep a record of every answer."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import msgspec
from tests.torture.history import History, Operation, Record, Side
from tests.torture.running import REFUSED_BY_DATABASE, Running

COMPANY = "tort"
CURRENCY = "TOR"
GROUP = "T"
WEB_API = "/api/data/v9.2"

MEMO_LENGTH = 1900
"""A list of marks that has grown longer than this is left alone; Dataverse's column holds 2,000 characters."""

SECONDS = 30.0
"""How long a client waits for an answer."""

REPEAT_SECONDS = 120.0
"""How long an idempotent request is repeated; nothing here is away that long."""

SEPARATOR = " "

BOTH: tuple[Side, ...] = ("dataverse", "finops")


class World(NamedTuple):
    """Ids of the rows that accounts refer to."""

    company: str
    currency: str
    group: str


class Shown(NamedTuple):
    """A record as one half shows it: the list of marks, and the ETag it was read with."""

    marks: tuple[str, ...]
    etag: str


async def prepare_world(client: httpx.AsyncClient) -> World:
    """Make the legal entity, currency and customer group on F&O, and find what they became in Dataverse."""
    rows: tuple[tuple[str, dict[str, Any]], ...] = (
        ("Currencies", {"CurrencyCode": CURRENCY, "Name": "Tortured", "Symbol": "T"}),
        ("LegalEntities", {"LegalEntityId": COMPANY, "Name": "Torture chamber"}),
        ("CustomerGroups", {"dataAreaId": COMPANY, "CustomerGroupId": GROUP, "Description": "Tortured"}),
    )
    for entity_set, values in rows:
        answer = await client.post(f"/data/{entity_set}", json=values)
        if answer.status_code != 201:
            raise RuntimeError(f"{entity_set} was refused: {answer.text}")

    async def id_of(path: str, key: str) -> str:
        found = (await client.get(f"{WEB_API}/{path}")).json()
        return str(found["value"][0][key])

    return World(
        await id_of(f"cdm_companies?$filter=cdm_companycode eq '{COMPANY}'", "cdm_companyid"),
        await id_of(f"transactioncurrencies?$filter=isocurrencycode eq '{CURRENCY}'", "transactioncurrencyid"),
        await id_of(f"msdyn_customergroups?$filter=msdyn_groupid eq '{GROUP}'", "msdyn_customergroupid"),
    )


def new_client(running: Running) -> httpx.AsyncClient:
    """A client that is logged in to both halves."""
    return httpx.AsyncClient(
        base_url=running.base_url,
        headers={"authorization": f"Bearer {running.token}", "accept": "application/json"},
        timeout=SECONDS,
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
    )


class Writers:
    """Some writers at work on shared records until they are told to stop."""

    def __init__(self, running: Running, history: History, world: World, seed: str) -> None:
        self._running = running
        self._history = history
        self._world = world
        self._seed = seed
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._client = new_client(running)
        self._begun = 0
        self._sides: tuple[Side, ...] = BOTH
        self._may_delete = True
        self._at_work: set[asyncio.Event] = set()
        self.acknowledged = 0

    async def start(self, writers: int, records: int) -> None:
        """Create the records, then write until `stop`."""
        rng = random.Random(f"{self._seed}-records")
        for _ in range(records):
            await self._create(rng)
        self._tasks = [asyncio.create_task(self._work(random.Random(f"{self._seed}-{n}"))) for n in range(writers)]

    async def stop(self) -> None:
        """Let each writer finish what it is at: an idempotent request is repeated until it has an answer."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        await self._client.aclose()

    async def keep_to(self, side: Side, *, may_delete: bool = True) -> None:
        """Write on this half only from now on; returns once every writer has done what it was at."""
        self._sides, self._may_delete = (side,), may_delete
        for done in tuple(self._at_work):
            await done.wait()

    def let_delete(self) -> None:
        """Delete again."""
        self._may_delete = True

    def keep_to_both(self) -> None:
        """Write on both halves again, and delete."""
        self._sides, self._may_delete = BOTH, True

    async def _work(self, rng: random.Random) -> None:
        actions: tuple[tuple[Callable[[random.Random], Any], float], ...] = (
            (self._append, 0.76),
            (self._append_wrongly, 0.06),
            (self._create, 0.11),
            (self._delete, 0.07),
        )
        names = [action for action, _ in actions]
        weights = [weight for _, weight in actions]
        while not self._stopping.is_set():
            done = asyncio.Event()
            self._at_work.add(done)
            await rng.choices(names, weights)[0](rng)
            self._at_work.remove(done)
            done.set()
            await asyncio.sleep(0)

    # --- the writes ---------------------------------------------------------------------------------------------

    async def _append(self, rng: random.Random, wrong: str = "") -> None:
        """Read a record on one half, add a mark to its list, write it back there if nobody else has meanwhile."""
        record = self._choose(rng)
        if record is None:
            return
        side: Side = rng.choice(self._sides)
        if wrong and self._sides == (side,):
            wrong = f"!{side}"  # what only the other half refuses would wait in the queue until somebody dismissed it
        shown = await self._read(record, side)
        if shown is None:
            await asyncio.sleep(0.05)
            return
        mark = self._history.new_mark() + (wrong if wrong in REFUSED_BY_DATABASE else "")
        memo = SEPARATOR.join((*shown.marks, mark))
        if len(memo) > MEMO_LENGTH:
            record.retired = True
            return
        count = len(shown.marks) + 1
        if side == "dataverse":
            body = {"description": memo, "creditlimit": count} | ({"msdyn_onholdstatus": 1} if wrong == "value" else {})
        else:
            body = {"SalesMemo": memo, "CreditLimit": count} | ({"PaymentTerms": "?"} if wrong == "value" else {})
        operation = self._history.begin(record, "append", side, mark)
        await self._send(
            operation, "PATCH", self._address(record, side), body, {"if-match": shown.etag}, repeat=rng.random() < 0.3
        )

    async def _append_wrongly(self, rng: random.Random) -> None:
        """The same, but refused: for a value at once, or by a half's database when it prepares or commits."""
        await self._append(rng, rng.choice(("value", *REFUSED_BY_DATABASE)))

    async def _create(self, rng: random.Random) -> None:
        """A new customer: with a number of ours, or with one that F&O gives it."""
        side: Side = rng.choice(self._sides)
        numbered = rng.random() < 0.5
        record = self._history.new_record()
        if numbered:
            record.number = f"T{record.mark}".upper()
        # Without a number of ours a repetition without its key would be a second customer.
        repeat = not numbered or rng.random() < 0.5
        operation = self._history.begin(record, "create", side, record.mark)
        if side == "finops":
            body = {
                "dataAreaId": COMPANY,
                "OrganizationName": f"Customer {record.mark}",
                "PartyType": "Organization",
                "CustomerGroupId": GROUP,
                "SalesCurrencyCode": CURRENCY,
                "SalesMemo": record.mark,
                "CreditLimit": 1,
            } | ({"CustomerAccount": record.number} if numbered else {})
            answer = await self._send(operation, "POST", "/data/CustomersV3", body, {}, repeat=repeat)
            if answer is not None and operation.outcome == "acknowledged":
                record.number = answer.json()["CustomerAccount"]
            return
        body = {
            "name": f"Customer {record.mark}",
            "customertypecode": 3,
            "description": record.mark,
            "creditlimit": 1,
            "msdyn_company@odata.bind": f"/cdm_companies({self._world.company})",
            "transactioncurrencyid@odata.bind": f"/transactioncurrencies({self._world.currency})",
            "msdyn_customergroupid@odata.bind": f"/msdyn_customergroups({self._world.group})",
        } | ({"accountnumber": record.number} if numbered else {})
        answer = await self._send(operation, "POST", f"{WEB_API}/accounts", body, {}, repeat=repeat)
        if answer is not None and operation.outcome == "acknowledged":
            record.account_id = answer.headers["odata-entityid"].rpartition("(")[2].rstrip(")")

    async def _delete(self, rng: random.Random) -> None:
        """Delete a record, on either half, while others may be writing it."""
        if not self._may_delete:
            return
        record = self._choose(rng, for_delete=True)
        if record is None:
            return
        side: Side = rng.choice(self._sides)
        if not await self._find(record, side):
            return
        operation = self._history.begin(record, "delete", side, self._history.new_mark())
        await self._send(operation, "DELETE", self._address(record, side), None, {}, repeat=rng.random() < 0.3)
        record.retired = True

    def _choose(self, rng: random.Random, for_delete: bool = False) -> Record | None:
        """A record that is likely to be there: mostly one of the first few, which therefore have several writers."""
        alive = [r for r in self._history.records if r.of("create", "acknowledged") and not r.retired]
        if for_delete:
            retired = [
                r for r in self._history.records if r.retired and r.of("create", "acknowledged") and not r.of("delete")
            ]
            alive = retired or alive[8:]
        if not alive:
            return None
        return rng.choice(alive[:8]) if not for_delete and rng.random() < 0.6 else rng.choice(alive)

    # --- the wire -----------------------------------------------------------------------------------------------

    def _address(self, record: Record, side: Side) -> str:
        if side == "finops":
            return f"/data/CustomersV3(dataAreaId='{COMPANY}',CustomerAccount='{record.number}')?cross-company=true"
        return f"{WEB_API}/accounts({record.account_id})"

    async def _find(self, record: Record, side: Side) -> bool:
        """Make sure that a record can be addressed on a half; what the other half gave it is looked up."""
        try:
            if side == "finops" and not record.number:
                answer = await self._client.get(
                    f"{WEB_API}/accounts({record.account_id})", params={"$select": "accountnumber"}
                )
                record.number = answer.json()["accountnumber"] if answer.status_code == 200 else ""
            if side == "dataverse" and not record.account_id:
                answer = await self._client.get(
                    f"{WEB_API}/accounts",
                    params={"$select": "accountid", "$filter": f"accountnumber eq '{record.number}'"},
                )
                rows = answer.json()["value"] if answer.status_code == 200 else []
                record.account_id = rows[0]["accountid"] if rows else ""
        except httpx.TransportError:
            return False
        return bool(record.number if side == "finops" else record.account_id)

    async def _read(self, record: Record, side: Side) -> Shown | None:
        """The record as a half shows it now; None when it is not there or the half does not answer."""
        if not await self._find(record, side):
            return None
        column = "SalesMemo" if side == "finops" else "description"
        try:
            address = self._address(record, side)
            answer = await self._client.get(f"{address}{'&' if '?' in address else '?'}$select={column}")
        except httpx.TransportError:
            return None
        if answer.status_code != 200:
            record.retired = record.retired or answer.status_code == 404
            return None
        row = answer.json()
        return Shown(tuple((row[column] or "").split()), row["@odata.etag"])

    async def _send(
        self,
        operation: Operation,
        method: str,
        address: str,
        body: dict[str, Any] | None,
        headers: dict[str, str],
        *,
        repeat: bool,
    ) -> httpx.Response | None:
        """Send a write; with an idempotency key, and again until there is an answer, when it is to be repeated."""
        operation.repeated = repeat
        headers = {**headers, "prefer": "return=minimal"} if method == "PATCH" else dict(headers)
        if repeat:
            headers["idempotency-key"] = str(uuid.uuid4())
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["content-type"] = "application/json"
        while True:
            operation.attempts += 1
            answer = await self._send_once(operation, method, address, content, headers)
            if operation.outcome != "unknown" or not repeat or time.monotonic() > operation.invoked + REPEAT_SECONDS:
                break
            await asyncio.sleep(0.1)
        self.acknowledged += operation.outcome == "acknowledged"
        return answer

    async def _send_once(
        self, operation: Operation, method: str, address: str, content: bytes | None, headers: dict[str, str]
    ) -> httpx.Response | None:
        try:
            answer = await self._client.request(method, address, content=content, headers=headers)
        except httpx.ConnectError as error:
            # Nothing was sent. That an earlier attempt was, makes its outcome no better known.
            await asyncio.sleep(0.2)
            operation.said = repr(error)
            if operation.attempts == 1:
                operation.outcome, operation.answered = "refused", time.monotonic()
            return None
        except httpx.TransportError as error:
            operation.said = repr(error)
            return None
        operation.status = answer.status_code
        if answer.is_success:
            operation.outcome = "acknowledged"
        else:
            operation.said = answer.text
            # That a repetition can't be served now says nothing of the attempt before it.
            not_now = answer.status_code >= 500 and operation.attempts > 1
            operation.outcome = "unknown" if not_now or "not known" in answer.text else "refused"
        operation.answered = time.monotonic()
        return answer
