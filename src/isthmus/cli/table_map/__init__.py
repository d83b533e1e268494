"""`isthmus map`: everything an administrator does with table maps, over the management API of the running server."""

from __future__ import annotations

import cyclopts

from isthmus.cli.table_map import cancel, definitions, errors, filters, keys, listing, queue, records, states

app = cyclopts.App(name="map", help="Look at table maps and work with them. Needs an environment that runs.")
app.command(listing.list_table_maps, name="list")
app.command(listing.show, name="show")
app.command(listing.graph, name="graph")
app.command(states.plan, name="plan")
app.command(states.run, name="run")
app.command(states.pause, name="pause")
app.command(states.resume, name="resume")
app.command(states.stop, name="stop")
app.command(cancel.cancel, name="cancel")
app.command(keys.pauses_itself, name="pauses-itself")
app.command(records.preview, name="preview")
app.command(records.compare, name="compare")
app.command(errors.errors, name="errors")
app.command(errors.retry, name="retry")
app.command(queue.queue, name="queue")
app.command(filters.try_filter, name="filter")
app.command(keys.key, name="key")
app.command(definitions.validate, name="validate")
app.command(definitions.versions, name="versions")
app.command(definitions.edit, name="edit")
