"""The Dataverse Web API: `/api/data/v9.2/`."""

from isthmus.dataverse.webapi.app import WebApi

__all__ = ["WebApi"]
