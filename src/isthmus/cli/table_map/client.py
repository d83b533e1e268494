"""The management API as the commands use it: HTTP to the environment that runs, with a token as `isthmus token` has."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote

from isthmus import config
from isthmus.cli.not_running import running_state
from isthmus.cli.token import request_token
from isthmus.errors import Rejected, Unavailable
from isthmus.server.credentials import load_credentials
from isthmus.server.state import State

if TYPE_CHECKING:
    import httpx

ROOT = "/api/isthmus/v1"
TOKEN_VARIABLE = "ISTHMUS_TOKEN"
CONNECT_SECONDS = 30.0
LONGEST_SECONDS = 3600.0
"""To compare, or to plan a run, takes as long as reading all records of a table map."""
ATTEMPTS = 5
PAGE = 500
FIRST_POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 0.5

Document = dict[str, Any]
Half = Literal["finops", "dataverse"]
HALVES: tuple[Half, ...] = get_args(Half)


class Management:
    """Calls of the management API; each returns the decoded answer and raises our errors with the API's sentence."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **query: Any) -> Any:
        """Read; sent again for a moment while a half is away."""
        for attempt in range(ATTEMPTS):
            answer = self._send("GET", path, params=_given(query))
            if answer.status_code != 503 or attempt == ATTEMPTS - 1:
                break
            time.sleep(min(2.0**attempt / 4, float(answer.headers.get("retry-after", "1"))))
        return _decoded(answer)

    def post(self, path: str, body: Document | None = None) -> Any:
        """Ask for something to be done."""
        return _decoded(self._send("POST", path, json=body or {}))

    def put(self, path: str, body: Document) -> Any:
        """Replace what stands at the path."""
        return _decoded(self._send("PUT", path, json=body))

    def delete(self, path: str) -> None:
        """Take away what stands at the path."""
        _decoded(self._send("DELETE", path))

    def text(self, path: str, **query: Any) -> str:
        """Read what is no JSON, such as CSV."""
        answer = self._send("GET", path, params=_given(query))
        _check(answer)
        return answer.text

    def all_pages(self, path: str, limit: int | None = None, **query: Any) -> list[Any]:
        """The items of a list, page after page, up to `limit` of them."""
        items: list[Any] = []
        after = None
        while limit is None or len(items) < limit:
            page = self.get(path, **query, after=after, limit=min(PAGE, limit - len(items)) if limit else PAGE)
            items += page["items"]
            after = page["next"]
            if after is None:
                break
        return items

    def followed(self, request_id: int | str) -> Iterator[Document]:
        """A request of long work, again and again until it has ended."""
        pause = FIRST_POLL_SECONDS
        while True:
            found = self.get(f"/requests/{request_id}")
            yield found
            if found["state"] in ("completed", "error", "cancelled"):
                return
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_SECONDS)

    def named(self, *names: str) -> list[str]:
        """The table maps that these names, or parts of names, mean. Rejected when one fits none, or several."""
        known = [found["name"] for found in self.get("/table-maps")]
        return [one_of(name, known, "table map", "isthmus map list") for name in names]

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        import httpx

        try:
            return self._client.request(method, ROOT + path, **options)
        except httpx.TransportError as error:
            raise Unavailable(f"{self._client.base_url} did not answer: {error}") from error


@contextmanager
def management(data_dir: Path | None) -> Iterator[Management]:
    """The management API of the environment that runs on a data directory. NotRunning when none does."""
    import ssl

    import httpx

    settings = config.load({"data_dir": data_dir})
    state = running_state(settings)
    with httpx.Client(
        base_url=state.base_url,
        headers={"authorization": f"Bearer {_token(settings, state)}"},
        verify=ssl.create_default_context(cafile=state.ca_file),
        timeout=httpx.Timeout(CONNECT_SECONDS, read=LONGEST_SECONDS),
        trust_env=False,
    ) as client:
        yield Management(client)


def _token(settings: config.Settings, state: State) -> str:
    if token := os.environ.get(TOKEN_VARIABLE):
        return token
    credentials = load_credentials(settings)
    if credentials is None:
        raise Rejected(
            "this environment has an identity_file of its own, whose secrets Isthmus doesn't know: request a token "
            f"from {state.base_url} as one of its applications and give it in {TOKEN_VARIABLE}."
        )
    return request_token(state, credentials, None)


def path_of(name: str) -> str:
    """The path of a table map."""
    return f"/table-maps/{quote(name, safe='')}"


def one_of(name: str, known: list[str], what: str, listed_by: str) -> str:
    """The one of the known names that a name, or a part of it, means. Rejected when it fits none, or several."""
    folded = name.casefold()
    exact = [found for found in known if found.casefold() == folded]
    fitting = exact or [found for found in known if folded in found.casefold()]
    if not fitting:
        raise Rejected(f"there is no {what} named '{name}': see {listed_by}.")
    if len(fitting) > 1:
        raise Rejected(f"'{name}' fits {len(fitting)} {what}s: {'; '.join(fitting[:10])}. Give more of the name.")
    return fitting[0]


def _given(query: Document) -> Document:
    return {name: value for name, value in query.items() if value is not None}


def _decoded(answer: httpx.Response) -> Any:
    _check(answer)
    return answer.json() if answer.content else None


def _check(answer: httpx.Response) -> None:
    """Raise the error that a refusal stands for."""
    if answer.is_success:
        return
    if answer.headers.get("content-type") != "application/problem+json":
        raise Unavailable(f"{answer.url} answers {answer.status_code}: {answer.text[:500]}")
    problem = answer.json()
    kind = Unavailable if answer.status_code == 503 else Rejected
    raise kind(problem["detail"], code=problem["code"])
