"""Telling people: the one place from which messages leave for mail servers, chats and webhooks.

Addresses are those of `apprise` (`mailtos://...`, `slack://...`, `jsons://host/path`), or plain e-mail addresses, which
go through the mail server of the settings. They hold secrets, and are only ever shown with those hidden.
"""

from __future__ import annotations

import asyncio
import logging
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache
from typing import Any
from urllib.parse import quote

from isthmus.errors import Rejected, Unavailable
from isthmus.observe import log

SECONDS = 30.0
"""A service that has not taken a message after this long has not taken it."""

_MAIL = re.compile(r"[^\s@:/?#&]+@[^\s@:/?#&]+\.[^\s@:/?#&.]+")

_LOCAL = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
"""Services of `apprise` that reach the machine it runs on and nobody else."""

_threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="notify")
"""Their own, so that services that hang hold up nothing else."""

_answers: ContextVar[list[str] | None] = ContextVar("answers", default=None)


def _collect(record: logging.LogRecord) -> bool:
    """Keep what `apprise` says of a service's answer for the message being sent, and keep it out of every log: it
    repeats addresses."""
    collected = _answers.get()
    if collected is not None and record.levelno >= logging.WARNING:
        collected.append(record.getMessage())
    return False


@cache
def _apprise() -> Any:
    """The library, loaded when first needed: it brings some hundred services with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    logging.getLogger("apprise").addFilter(_collect)
    return apprise


def check(address: str, mail_server: str) -> None:
    """Rejected (`alert_address`) when nothing can be sent to an address, for its syntax alone; nothing is sent."""
    if _MAIL.fullmatch(address):
        if not mail_server:
            raise _refused(
                address, "is an e-mail address, but the setting mail_server names no server to send mail through"
            )
        return
    if _instance(address) is None:
        raise _refused(
            address, "is no address of a service that is known: write it as apprise does, such as jsons://host/path"
        )


def shown(address: str) -> str:
    """An address without its secrets. It shows which service it is, and stays the same for the same address."""
    if _MAIL.fullmatch(address):
        return address
    found = _instance(address)
    return str(found.url(privacy=True)) if found is not None else "an address that can't be read"


async def send(address: str, title: str, body: str, mail_server: str) -> None:
    """Send a message. Unavailable, with what the service answered, when it was not taken."""
    target = f"{mail_server}{'&' if '?' in mail_server else '?'}to={quote(address)}"
    service = _instance(target if _MAIL.fullmatch(address) else address)
    if service is None:
        raise Unavailable(f"{shown(address)} can't be reached: correct the address.", code="notification_not_sent")
    answers: list[str] = []
    try:
        async with asyncio.timeout(SECONDS):
            taken = await asyncio.get_running_loop().run_in_executor(_threads, _send, service, title, body, answers)
    except TimeoutError:
        taken, answers = False, [f"no answer within {SECONDS:g} seconds"]
    except Exception as error:  # a fault of somebody's plug-in must not end the process
        log.error("notification_plugin_failed", service=shown(address), error=type(error).__name__)
        taken, answers = False, [f"the service's plug-in failed ({type(error).__name__})"]
    if not taken:
        said = " ".join(answers) or "the service did not take it"
        raise Unavailable(f"{shown(address)} was not told: {said}", code="notification_not_sent")


def _send(service: Any, title: str, body: str, answers: list[str]) -> bool:
    _answers.set(answers)
    return bool(service.notify(body=body, title=title))


def _instance(address: str) -> Any:
    """The service behind an address; None when its syntax is wrong or it is none of those that are allowed."""
    if address.partition("://")[0].lower() in _LOCAL:
        return None
    return _apprise().Apprise.instantiate(address, suppress_exceptions=True)


def _refused(address: str, why: str) -> Rejected:
    # An address that can't be read may still hold a password: of such a one only the beginning is repeated.
    service = re.match(r"[a-z0-9+]{1,20}(?=://)", address, re.IGNORECASE)
    named = address if _MAIL.fullmatch(address) else f"{service[0]}://..." if service else "An address"
    return Rejected(f"notify: {named} {why}.", code="alert_address", field="notify")
