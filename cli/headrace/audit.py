"""`headrace audit`: the conservation of requests, term by term."""

from __future__ import annotations

import click

from headrace import errors, output
from headrace.call import Call
from headrace.settings import settings


class Unbalanced(errors.CommandError):
    """The terms do not add up; the fault is ours."""


@click.command()
def audit() -> None:
    """Prove that no accepted request was lost: its lane's terms add up.

    accepted = completed + failed + expired + cancelled + dead-lettered + lost + in flight
    """
    found = Call(options={}, settings=settings()).client.get("audit")
    shown = found
    if settings().format == "table":
        shown = [{"lane": name} | terms for name, terms in found["lanes"].items()]
    output.show(shown, settings())
    if not found["balanced"]:
        raise Unbalanced(
            "the totals do not add up: a request was counted twice or not at all",
            hint="this is a bug in Headrace; please report it with this output",
        )
