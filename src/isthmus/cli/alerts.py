"""`isthmus alerts`: rules that watch the errors of table maps, and what fired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.cli.table_map.client import Document, Management, management, one_of
from isthmus.cli.table_map.output import Json, print_grid, print_json

app = cyclopts.App(name="alerts", help="Be told when table maps go wrong. Needs an environment that runs.")

RuleName = Annotated[str, Parameter(help="Name of a rule, or a part of it that fits one only.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Rule:
    """What a rule is made of, as far as it is given."""

    error: Annotated[
        tuple[str, ...] | None, Parameter(negative=(), help="Kind of error that counts, such as live_sync_error.")
    ] = None
    map: Annotated[tuple[str, ...] | None, Parameter(help="Only this table map.")] = None
    count: Annotated[int | None, Parameter(help="So many errors of one table map ...")] = None
    interval: Annotated[int | None, Parameter(help="... within so many units of time.")] = None
    unit: Annotated[Literal["seconds", "minutes", "hours", "days"] | None, Parameter(help="Unit of time.")] = None
    notify: Annotated[tuple[str, ...] | None, Parameter(help="Address to tell, as apprise writes it.")] = None
    action: Annotated[Literal["none", "pause", "stop"] | None, Parameter(help="What is done with the table map.")] = (
        None
    )
    state: Annotated[Literal["on", "off"] | None, Parameter(help="Whether the rule watches.")] = None

    def put_into(self, rule: Document, api: Management) -> Document:
        """The rule with what is given."""
        threshold = {"count": self.count, "interval": self.interval, "unit": self.unit}
        given = {
            "error_types": self.error,
            "table_maps": None if self.map is None else api.named(*self.map),
            "notify": self.notify,
            "action": self.action,
            "enabled": None if self.state is None else self.state == "on",
            "threshold": rule.get("threshold", {}) | {key: one for key, one in threshold.items() if one is not None},
        }
        return rule | {key: value for key, value in given.items() if value is not None}


NOTHING = Rule()


@app.command(name="list")
def list_rules(*, json: Json = False, data_dir: DataDir = None) -> int:
    """List all rules by name. The secret parts of their addresses are hidden."""
    with management(data_dir) as api:
        found = api.get("/alert-rules")
    if json:
        print_json(found)
        return exit_codes.OK
    print_grid(
        ("rule", "state", "errors", "table maps", "action", "notify"),
        (
            (
                rule["name"],
                "on" if rule["enabled"] else "off",
                f"{rule['threshold']['count']} in {rule['threshold']['interval']} {rule['threshold']['unit']}: "
                + ", ".join(rule["error_types"]),
                "; ".join(rule["table_maps"]) or "all",
                rule["action"],
                ", ".join(rule["notify"]),
            )
            for rule in (one["rule"] for one in found)
        ),
    )
    return exit_codes.OK


@app.command
def add(name: str, /, *, rule: Rule = NOTHING, json: Json = False, data_dir: DataDir = None) -> int:
    """Add a rule; it holds at once."""
    with management(data_dir) as api:
        found = api.post("/alert-rules", rule.put_into({"name": name}, api))
    return _say(found, f"Alert rule '{name}' was added.", json)


@app.command
def edit(name: RuleName, /, *, rule: Rule = NOTHING, json: Json = False, data_dir: DataDir = None) -> int:
    """Change what is given of a rule; a list that is given takes the place of the one that stands."""
    with management(data_dir) as api:
        stored = _stored(api, name)
        found = api.put(f"/alert-rules/{stored['id']}", rule.put_into(stored["rule"], api))
    return _say(found, f"Alert rule '{found['rule']['name']}' was changed.", json)


@app.command
def remove(name: RuleName, /, *, json: Json = False, data_dir: DataDir = None) -> int:
    """Delete a rule; the alerts that it gave stay."""
    with management(data_dir) as api:
        stored = _stored(api, name)
        api.delete(f"/alert-rules/{stored['id']}")
    return _say(stored | {"deleted": True}, f"Alert rule '{stored['rule']['name']}' was deleted.", json)


@app.command
def fired(
    *,
    limit: Annotated[int, Parameter(help="Alerts to show, newest first.")] = 20,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """List what fired, newest first: the action with its outcome, and what became of each message."""
    with management(data_dir) as api:
        found = api.all_pages("/alerts", limit)
    if json:
        print_json(found)
        return exit_codes.OK
    print_grid(
        ("fired", "rule", "table map", "errors", "action", "told"),
        (
            (
                one["fired_at"][:19],
                one["rule_name"],
                one["table_map"],
                one["errors"],
                one["action"] if one["action"] == "none" else f"{one['action']}: {one['outcome'] or one['state']}",
                ", ".join(f"{sent['address']}: {sent['state']}" for sent in one["notifications"]),
            )
            for one in found
        ),
    )
    return exit_codes.OK


def _stored(api: Management, name: str) -> Document:
    rules = {one["rule"]["name"]: one for one in api.get("/alert-rules")}
    found: Document = rules[one_of(name, [*rules], "alert rule", "isthmus alerts list")]
    return found


def _say(found: Document, sentence: str, json: bool) -> int:
    if json:
        print_json(found)
    else:
        print(sentence)
    return exit_codes.OK
