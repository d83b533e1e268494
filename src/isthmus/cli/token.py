"""`isthmus token`: log in as the development application and print its token."""

from __future__ import annotations

import http.client
import ssl
import sys
from typing import Annotated, Literal
from urllib.parse import urlencode, urlsplit

import msgspec
from cyclopts import Parameter

from isthmus import config
from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.errors import Rejected, Unavailable
from isthmus.server.credentials import Credentials, load_credentials
from isthmus.server.state import State, current_state

Half = Literal["dataverse", "finops"]
SECONDS = 30


def token(
    *,
    half: Annotated[Half | None, Parameter(name="--for", help="Only for this half (default: for both).")] = None,
    data_dir: DataDir = None,
) -> int:
    """Print one bearer token for the environment that runs, and nothing else.

    For instance: curl --cacert CA_FILE -H "Authorization: Bearer $(isthmus token)" DATAVERSE_URL/WhoAmI
    """
    settings = config.load({"data_dir": data_dir})
    state = current_state(settings.data_dir)
    if state.state != "running":
        print(f"isthmus: no environment runs on {settings.data_dir}: start it with isthmus up.", file=sys.stderr)
        return exit_codes.NOT_RUNNING
    credentials = load_credentials(settings)
    if credentials is None:
        raise Rejected(
            "this environment has an identity_file of its own, whose secrets Isthmus doesn't know: request a token "
            f"from {state.base_url} as one of its applications."
        )
    print(request_token(state, credentials, half))
    return exit_codes.OK


def request_token(state: State, credentials: Credentials, half: Half | None) -> str:
    """Log in with the client's secret, as any client would. Raises Unavailable with the issuer's answer."""
    resource = {"dataverse": state.dataverse_url, "finops": state.finops_url, None: state.base_url}[half]
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "scope": f"{resource}/.default",
    }
    address = urlsplit(state.base_url)
    context = ssl.create_default_context(cafile=state.ca_file)
    connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=SECONDS, context=context)
    try:
        connection.request(
            "POST",
            f"/{credentials.tenant_id}/oauth2/v2.0/token",
            urlencode(form),
            {"content-type": "application/x-www-form-urlencoded"},
        )
        answer = connection.getresponse().read()
        document = msgspec.json.decode(answer, type=dict[str, object])
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise Unavailable(f"{state.base_url} did not answer: {error}") from error
    finally:
        connection.close()
    if "access_token" not in document:
        raise Unavailable(f"the issuer refused: {document.get('error_description', document)}")
    return str(document["access_token"])
