"""The table of verbs is az ml's, plus ours, and each handler it names exists."""

from __future__ import annotations

import importlib

import pytest

from cli.az_verbs import AZ_VERBS
from headrace import options, verbs
from headrace.verb import Verb

OUR_GROUPS = {"client", "issuer", "env", "component", "datastore", "compute", "workspace"}


def az_options(required: str, optional: str) -> set[tuple[str, str, str, bool]]:
    rows = [(text, True) for text in required.split(", ")]
    rows += [(text, False) for text in optional.split(", ")]
    parsed = [options.parse_option(text, required=needed) for text, needed in rows if text]
    return {(one.name, one.short, one.default, one.required) for one in parsed}


@pytest.mark.parametrize("row", AZ_VERBS, ids=lambda row: row[0])
def test_every_verb_of_az_is_in_the_table_with_its_options(row: tuple[str, str, str, str]) -> None:
    path, required, optional, generic = row
    group, name = path.split()
    verb = verbs.verbs_of(group)[name]
    ours = {
        (one.name, one.short, one.default, one.required) for one in verb.options if not one.ours
    }
    assert ours == az_options(required, optional)
    assert verb.generic == generic


def test_every_verb_of_az_in_our_groups_is_there_once() -> None:
    paths = [f"{verb.group} {verb.name}" for verb in verbs.VERBS]
    assert len(paths) == len(set(paths))
    beyond = set(paths) - {row[0] for row in AZ_VERBS}
    of_our_groups = {path for path in beyond if path.split()[0] in OUR_GROUPS}
    assert beyond - of_our_groups == {
        "online-endpoint get-logs",
        "online-endpoint wait",
        "online-deployment wait",
        "data download",
    }


@pytest.mark.parametrize(
    "verb",
    [verb for verb in verbs.VERBS if verb.offered],
    ids=lambda verb: f"{verb.group} {verb.name}",
)
def test_the_handler_of_an_offered_verb_exists(verb: Verb) -> None:
    module, _, function = verb.handler.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_short_forms_do_not_collide() -> None:
    shared = {"-o", "-g", "-w", "-h"}
    for verb in verbs.VERBS:
        shorts = [one.short for one in verb.options if one.short]
        assert len(shorts) == len(set(shorts)), verb
        assert not shared & set(shorts), verb
