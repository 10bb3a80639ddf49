"""`headrace events`: who changed what, and when."""

from __future__ import annotations

import click

from headrace import output
from headrace.call import Call
from headrace.settings import settings


@click.command()
@click.option("--max-results", "-r", type=click.IntRange(1, 1000), default=50, show_default=True)
def events(max_results: int) -> None:
    """Show the last writes to the control API, newest first: time, who, action, outcome, resource.

    They are CloudEvents in the stream EVENTS, kept for 30 days and up to 64 MiB.
    """
    client = Call(options={}, settings=settings()).client
    found = client.values("events", **{"$top": str(max_results)})
    shown = [{"time": one["time"], **one["data"], "resource": one["subject"]} for one in found]
    output.show(shown, settings(), things="events")
