"""How the demo reaches a running environment: its addresses, and what is needed to log in to them."""

from __future__ import annotations

import ssl

import httpx
import msgspec

from isthmus.cli.token import request_token
from isthmus.config import Settings
from isthmus.errors import Rejected
from isthmus.server.credentials import load_credentials
from isthmus.server.state import State


class LogIn(msgspec.Struct, frozen=True):
    """Where both halves are, the certificate to trust, and a bearer token that is valid on both."""

    base_url: str
    finops_url: str
    ca_file: str
    token: str

    @classmethod
    def to(cls, state: State, settings: Settings) -> LogIn:
        """Log in to a running environment with its generated development application."""
        credentials = load_credentials(settings)
        if credentials is None:
            raise Rejected(
                "This environment has an identity_file of its own; the demo needs the generated development "
                "credentials. Run it on another --data-dir."
            )
        token = request_token(state, credentials, None)
        return cls(base_url=state.base_url, finops_url=state.finops_url, ca_file=state.ca_file, token=token)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request: the token, and JSON as the answer."""
        return {"authorization": f"Bearer {self.token}", "accept": "application/json"}

    def trust(self) -> ssl.SSLContext:
        """Trust in the environment's own certificate."""
        return ssl.create_default_context(cafile=self.ca_file)

    def finops(self) -> httpx.Client:
        """A client of the finance and operations half."""
        return httpx.Client(base_url=self.finops_url, headers=self.headers, verify=self.trust(), timeout=60)
