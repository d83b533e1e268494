"""`isthmus map`: everything an administrator does with table maps, over the management API of the running server."""

from __future__ import annotations

import cyclopts

from isthmus.cli.table_map import definitions, errors, listing, records, states

app = cyclopts.App(name="map", help="Look at table maps and work with them. Needs an environment that runs.")
app.command(listing.list_table_maps, name="list")
app.command(listing.show, name="show")
app.command(listing.graph, name="graph")
app.command(states.plan, name="plan")
app.command(states.run, name="run")
app.command(states.pause, name="pause")
app.command(states.resume, name="resume")
app.command(states.stop, name="stop")
app.command(records.preview, name="preview")
app.command(records.compare, name="compare")
app.command(errors.errors, name="errors")
app.command(errors.retry, name="retry")
app.command(definitions.versions, name="versions")
app.command(definitions.edit, name="edit")
