"""`headrace gc`: delete uploads that nothing refers to."""

from __future__ import annotations

import click

from headrace import output
from headrace.call import Call
from headrace.settings import settings


@click.command()
@click.option("--dry-run", is_flag=True, help="List what would be deleted; delete nothing.")
def gc(dry_run: bool) -> None:
    """Delete what nothing refers to, once it is 8 days old.

    Uploads that no asset names, bytes without a name, and versions of what was given inline;
    blocks of an upload that was never finished, an hour after the last one;
    environments that no instance has used for two weeks, and what a killed build left.

    The platform does the same by itself once an hour.
    """
    client = Call(options={}, settings=settings()).client
    output.show(client.post("collectGarbage", {"dryRun": dry_run}).json(), settings())
