"""Business logic of the party model on the Dataverse half: who an account or contact is, and where it is.

The party carries the name, and its postal addresses carry roles; accounts and contacts show both in columns of their
own (`name`, `firstname`, `lastname`; `address1_*` mirrors the invoice address, `address2_*` the delivery address).
A change on either end is carried to the other in the same transaction. See docs/explanation/party_model.md.
"""

from __future__ import annotations

from isthmus.apps.change import Operation
from isthmus.apps.pipeline import AFTER_LOCKS, Stage, Step
from isthmus.dataverse.app import DataverseApp
from isthmus.finops.app import FinopsApp
from isthmus.solutions.party_and_global_address_book.addresses import ADDRESS_COLUMNS, POSTAL_COLUMNS, AddressMirror
from isthmus.solutions.party_and_global_address_book.names import NAMES, PARTY_NAMES, PartyNames


def register(dataverse: DataverseApp, finops: FinopsApp) -> None:
    """Register the steps. All run on the Dataverse half; F&O keeps its parties by itself (finops.parties)."""
    names = PartyNames(dataverse)
    mirror = AddressMirror(dataverse)
    for table, columns in NAMES.items():
        dataverse.pipeline.register(
            Step(
                stage=Stage.PRE_OPERATION,
                handler=names.find_or_make_party,
                operation=Operation.CREATE,
                table=table,
                rank=AFTER_LOCKS,
            )
        )
        dataverse.pipeline.register(
            Step(
                stage=Stage.POST_OPERATION,
                handler=names.rename_party,
                operation=Operation.UPDATE,
                table=table,
                columns=frozenset(columns),
                images=frozenset({"msdyn_partyid"}),
            )
        )
        for operation in (Operation.CREATE, Operation.UPDATE):
            dataverse.pipeline.register(
                Step(
                    stage=Stage.POST_OPERATION,
                    handler=mirror.to_party,
                    operation=operation,
                    table=table,
                    columns=ADDRESS_COLUMNS,
                    images=frozenset({"msdyn_partyid"}),
                )
            )
    dataverse.pipeline.register(
        Step(
            stage=Stage.POST_OPERATION,
            handler=names.rename_owners,
            operation=Operation.UPDATE,
            table="msdyn_party",
            columns=frozenset(PARTY_NAMES),
        )
    )
    for table in ("msdyn_postaladdress", "msdyn_partypostaladdress"):
        for operation in (Operation.CREATE, Operation.UPDATE):
            dataverse.pipeline.register(
                Step(
                    stage=Stage.POST_OPERATION,
                    handler=mirror.from_party,
                    operation=operation,
                    table=table,
                    columns=POSTAL_COLUMNS,
                )
            )
