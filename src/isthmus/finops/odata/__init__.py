"""OData of the finance and operations half, at `/data`."""

from isthmus.finops.odata.service import ODataService

__all__ = ["ODataService"]
