"""Alert rules in the shape in which dual-write keeps them: `alertSettings` of a connection set.

Its error types and states are known by example only; names of ours stand for the others, in its spelling. Addresses
are no part of the shape that is known: they travel as `notify`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from isthmus.dual_write.activity import ERROR_KINDS
from isthmus.dual_write.alerts import AlertRule
from isthmus.errors import Rejected

_ENABLED, _DISABLED = "Enabled", "Disabled"
_KNOWN_AS = {"applicationerror": "live_sync_error"}


def to_setting(rule: AlertRule) -> dict[str, Any]:
    """A rule as one item of `alertSettings`."""
    return {
        "name": rule.name,
        "state": _ENABLED if rule.enabled else _DISABLED,
        "errorTypes": [_pascal(name) for name in rule.error_types],
        "threshold": {
            "count": rule.threshold.count,
            "interval": rule.threshold.interval,
            "unitOfTime": _pascal(rule.threshold.unit),
        },
        "action": _pascal(rule.action),
        "notify": list(rule.notify),
    }


def from_setting(setting: Mapping[str, Any], table_maps: tuple[str, ...] = ()) -> AlertRule:
    """The rule that an item of `alertSettings` stands for. Rejected (`alert_rule`) when it can't be read."""
    threshold = setting.get("threshold") or {}
    rule = {
        "name": setting.get("name"),
        "enabled": str(setting.get("state", _ENABLED)).lower() == _ENABLED.lower(),
        "error_types": [_error_type(str(name)) for name in setting.get("errorTypes", ())],
        "table_maps": table_maps,
        "threshold": {
            "count": threshold.get("count"),
            "interval": threshold.get("interval"),
            "unit": f"{str(threshold.get('unitOfTime')).lower().removesuffix('s')}s",
        },
        "action": str(setting.get("action", "none")).lower(),
        "notify": setting.get("notify", ()),
    }
    try:
        return msgspec.convert(rule, AlertRule)
    except msgspec.ValidationError as error:
        raise Rejected(
            f"An item of alertSettings can't be read: {error}.", code="alert_rule", field="alertSettings"
        ) from error


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _error_type(name: str) -> str:
    plain = re.sub(r"[^a-z]", "", name.lower())
    ours = {kind.replace("_", ""): kind for kind in ERROR_KINDS}
    return _KNOWN_AS.get(plain) or ours.get(plain, name)
