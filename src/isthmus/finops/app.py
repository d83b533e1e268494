"""The finance and operations half as an app: its definitions, its database, and the pipeline of its messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from isthmus.apps.change import Operation
from isthmus.apps.context import MAX_DEPTH, Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Pipeline, Stage
from isthmus.apps.principal import Half, Principal
from isthmus.errors import Rejected
from isthmus.finops import addresses, customers, entities, images, parties, validation, vendors
from isthmus.finops.companies import Companies
from isthmus.finops.data_sources import COMPANY, Compiled, DataSources
from isthmus.finops.number_sequences import Counters
from isthmus.finops.records import Link, links
from isthmus.finops.references import References, recid_references
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import FinopsTable
from isthmus.observe import Stages
from isthmus.store.pool import Pool
from isthmus.store.transaction import Transaction

_MAIN = {Operation.CREATE: entities.create, Operation.UPDATE: entities.update, Operation.DELETE: entities.delete}


class FinopsApp:
    """The half, open. `default_company` is the legal entity of a caller who names none."""

    half: Half = "finops"

    def __init__(self, catalog: Catalog, pool: Pool, counters: Counters, default_company: str) -> None:
        self.catalog = catalog
        self.pool = pool
        self.counters = counters
        self.default_company = default_company.lower()
        self.pipeline = Pipeline()
        self.compiled = Compiled(catalog)
        self.companies = Companies()
        self.references = References(catalog)
        self._recid_references = recid_references(catalog)
        self._links: dict[str, tuple[Link, ...]] = {}
        for document in (customers, vendors, parties, addresses):
            document.register(self)

    @classmethod
    async def open(cls, dsn: str, catalog: Catalog, *, size: int, default_company: str) -> Self:
        """The half on a migrated database, which may be away at the moment."""
        pool = await Pool.open(dsn, size=size, name="isthmus finops")
        return cls(catalog, pool, await Counters.open(dsn, catalog.number_sequences), default_company)

    async def close(self) -> None:
        """Wait for connections in use, then close all."""
        await self.counters.close()
        await self.pool.close()

    def context(
        self,
        principal: Principal,
        *,
        correlation_id: str,
        stages: Stages | None = None,
        is_partner: bool = False,
    ) -> Context:
        """A context whose transaction begins when it is entered. `is_partner`: for a save begun on the other half."""
        transaction = Transaction(self.pool.partner if is_partner else self.pool.origin)
        return Context(
            self, principal, transaction, correlation_id=correlation_id, stages=stages, is_partner=is_partner
        )

    async def execute(self, context: Context, message: Message) -> None:
        """Run a message, `table` of which is an entity's AOT name, through the pipeline.

        Raises Rejected, NotFound or Conflict naming field and value; the transaction must then be rolled back.
        """
        if not message.rows:
            return
        if context.depth >= MAX_DEPTH:
            raise Rejected(
                f"{MAX_DEPTH} messages were sent one inside the other; the last is {message.operation} of "
                f"'{message.table}': steps seem to call each other in circles.",
                code="depth_exceeded",
                entity=message.table,
            )
        sources = self.compiled[message.table]
        context.depth += 1
        try:
            with context.stages.stage("validate"):
                await self._prepare(context, message, sources)
                await self.pipeline.run(Stage.PRE_VALIDATION, context, message)
                if message.operation is not Operation.DELETE:
                    validation.validate(sources, message)
            with context.stages.stage("lock"):
                await self.pipeline.run(Stage.PRE_OPERATION, context, message)
            with context.stages.stage("main"):
                await _MAIN[message.operation](self, context, message, sources)
                await self.pipeline.run(Stage.POST_OPERATION, context, message)
        finally:
            context.depth -= 1

    async def find(self, transaction: Transaction, entity: str, keys: Sequence[dict[str, Any]]) -> list[int | None]:
        """RecIds of records by key, in the order of `keys`; None where there is no such record.

        Each key has values by lower-case field for all key fields of the entity, `dataareaid` among them.
        """
        return await images.find_records(transaction, self.compiled[entity], keys)

    def links(self, sources: DataSources) -> tuple[Link, ...]:
        """The data sources of an entity whose rows its records can name by natural key."""
        name = sources.entity.aot_name
        found = self._links.get(name)
        if found is None:
            found = self._links[name] = links(sources)
        return found

    def entities_over(self, table: str) -> Iterator[DataSources]:
        """The entities that write rows of this table as their records."""
        for entity in self.catalog.entities.values():
            if entity.root.table == table and not entity.read_only:
                yield self.compiled[entity.aot_name]

    def recid_references(self, table: str) -> list[tuple[FinopsTable, str]]:
        """The (table, column) pairs that hold RecIds of this table's rows."""
        return self._recid_references.get(table, [])

    async def _prepare(self, context: Context, message: Message, sources: DataSources) -> None:
        """Types, companies, and numbers for keys left empty."""
        if message.operation is Operation.DELETE:
            return
        for row in message.rows:
            validation.convert_values(sources, row, self.catalog.enums)
        if message.operation is not Operation.CREATE:
            return
        if sources.root.table.company_specific:
            for row in message.rows:
                row.values[COMPANY] = row.values.get(COMPANY) or self.default_company
            await self.companies.check(context, (row.values[COMPANY] for row in message.rows))
        await self._number_keys(message, sources)

    async def _number_keys(self, message: Message, sources: DataSources) -> None:
        """Fill empty fields of root rows from their number sequences, before business logic looks at them."""
        for name, binding in sources.fields.items():
            sequence = binding.field.number_sequence
            if sequence is None or binding.source != sources.root.name:
                continue
            waiting: dict[str, list[dict[str, Any]]] = {}
            for row in message.rows:
                if not row.values.get(name):
                    waiting.setdefault(row.values.get(COMPANY, ""), []).append(row.values)
            for company, values in waiting.items():
                numbers = await self.counters.numbers(sequence, company, len(values))
                for value, number in zip(values, numbers, strict=True):
                    value[name] = number
