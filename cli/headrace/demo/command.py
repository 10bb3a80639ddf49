"""The `headrace demo` command."""

from __future__ import annotations

import signal
import sys
import threading

import click

from headrace.demo.commands import Commands
from headrace.demo.scenario import ENDPOINT, Scenario
from headrace.demo.ticks import Ticks
from headrace.settings import Settings, settings


@click.command()
@click.option("--once", is_flag=True, help="Clean up and exit after the last step.")
@click.option(
    "--no-build", is_flag=True, help="Use a standard-library model that needs no network."
)
@click.option("--keep", is_flag=True, help="Leave the endpoint and the platform running.")
@click.option("--clean", is_flag=True, help="Remove only what an earlier demo created.")
def demo(once: bool, no_build: bool, keep: bool, clean: bool) -> None:
    """Show an endpoint with two versions of a model; every tick is an assertion."""
    given = settings()
    commands = Commands(given.home, verbose=given.verbose)
    ticks = Ticks()
    scenario = Scenario(given.home, commands, ticks, build=not no_build)
    if clean:
        scenario.clean()
        return
    click.echo(
        "demo: an endpoint with two versions of a model; everything it creates is tagged demo=1",
        err=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by way of `finally`
    try:
        scenario.run()
        click.echo(f"\nAll {ticks.count} ticks hold.", err=True)
        if not once:
            click.echo(_card(scenario.url, scenario.example, given), err=True)
            if not keep:
                _wait_for_ctrl_c()
    finally:
        if not keep:
            _clean_up(scenario)


def _card(url: str, example: str, given: Settings) -> str:
    home = given.home.root
    flag = f"--home {home} " if given.home_flag else ""
    body = f"{home}/demo/{example}/sample-request.json"
    rows = [
        "",
        f'Try it     curl -s {url} -H "Authorization: Bearer $(headrace {flag}key {ENDPOINT})" \\',
        f"             -H 'Content-Type: application/json' -d @{body}",
        f"Files      {home}/demo   (YAML and score.py, written to be copied)",
        f"Clean up   headrace {flag}demo --clean   (removes only what is tagged demo=1)",
    ]
    return "\n".join(rows)


def _wait_for_ctrl_c() -> None:
    click.echo("Ctrl-C ends the demo.", err=True)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()


def _clean_up(scenario: Scenario) -> None:
    """A second Ctrl-C must not leave half of it behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        scenario.clean()
    finally:
        scenario.down()
