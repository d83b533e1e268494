"""Business logic of the party model on the Dataverse half: who an account or contact is, and where it is.

The party carries the name, and its postal addresses carry roles; accounts and contacts show both in columns of their
own (`name`, `firstname`, `lastname`; `address1_*` mirrors the invoice address, `address2_*` the delivery address,
`telephone1`, `emailaddress1`, `websiteurl` and `fax` the party's primary ones).
A change on either end is carried to the other in the same transaction. See docs/explanation/party_model.md.
"""

from __future__ import annotations

from isthmus.apps.change import Operation
from isthmus.apps.pipeline import AFTER_LOCKS, MessageHandler, SetBased, Stage, Step
from isthmus.dataverse.app import DataverseApp
from isthmus.finops.app import FinopsApp
from isthmus.solutions.party_and_global_address_book import addresses, electronic_addresses
from isthmus.solutions.party_and_global_address_book.addresses import AddressMirror
from isthmus.solutions.party_and_global_address_book.electronic_addresses import ElectronicAddressMirror
from isthmus.solutions.party_and_global_address_book.names import NAMES, PARTY_NAMES, PartyNames


def register(dataverse: DataverseApp, finops: FinopsApp) -> None:
    """Register the steps. All run on the Dataverse half; F&O keeps its parties by itself (finops.parties)."""
    names = PartyNames(dataverse)
    for table, columns in NAMES.items():
        dataverse.pipeline.register(
            Step(
                stage=Stage.PRE_OPERATION,
                handler=names.find_or_make_party,
                operation=Operation.CREATE,
                table=table,
                rank=AFTER_LOCKS,
                set_based=SetBased(
                    reads=frozenset({"msdyn_partyid"}),
                    joins=" left join dataverse.msdyn_party party on party.msdyn_partyid = s.msdyn_partyid",
                    fills={column: f"party.{source}" for column, source in columns.items()},
                    needs_handler="party.msdyn_partyid is null",
                ),
            )
        )
        dataverse.pipeline.register(
            Step(
                stage=Stage.PRE_OPERATION,
                handler=names.take_name,
                operation=Operation.UPDATE,
                table=table,
                columns=frozenset({"msdyn_partyid"}),
                rank=AFTER_LOCKS,
            )
        )
        _after(dataverse, names.rename_party, table, frozenset(columns), operations=(Operation.UPDATE,))
    _after(dataverse, names.rename_owners, "msdyn_party", PARTY_NAMES, operations=(Operation.UPDATE,))
    postal = AddressMirror(dataverse)
    electronic = ElectronicAddressMirror(dataverse)
    for table in NAMES:
        _after(dataverse, postal.to_party, table, addresses.ADDRESS_COLUMNS)
        _after(dataverse, electronic.to_party, table, electronic_addresses.COLUMNS)
    for table in ("msdyn_postaladdress", "msdyn_partypostaladdress"):
        _after(dataverse, postal.from_party, table, addresses.POSTAL_COLUMNS)
    _after(dataverse, electronic.from_party, "msdyn_partyelectronicaddress", electronic_addresses.ADDRESS_COLUMNS)


def _after(
    app: DataverseApp,
    handler: MessageHandler,
    table: str,
    columns: frozenset[str],
    operations: tuple[Operation, ...] = (Operation.CREATE, Operation.UPDATE),
) -> None:
    """Run a handler after writes of a table; after updates only when one of the columns is among them."""
    for operation in operations:
        app.pipeline.register(
            Step(
                stage=Stage.POST_OPERATION,
                handler=handler,
                operation=operation,
                table=table,
                columns=columns,
                images=frozenset({"msdyn_partyid"} if table in NAMES else ()),
            )
        )
