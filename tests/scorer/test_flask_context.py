"""`flask.request` and `jsonify` in a script, as under the original's server."""

from __future__ import annotations

import asyncio
import json

import pytest

from headrace_bus.wire.head import request_head
from headrace_bus.wire.launch import EnvironmentSpec
from scorer.conftest import Serve

SCRIPT = """
{head}
from flask import current_app, jsonify, request
def init(): pass
{prefix}def run(raw):
    answer = jsonify(
        method=request.method, mine=request.headers.get("X-Mine"), a=request.args.get("a"),
        body=request.get_json(), name=current_app.name,
    )
    answer.headers["X-Own"] = "1"
    return answer
"""
FLASK = EnvironmentSpec(requirements="flask>=3,<4", name="flask")


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "async "])
async def test_a_script_finds_the_request_in_flask(serve: Serve, prefix: str) -> None:
    _, caller = await serve(SCRIPT.format(prefix=prefix, head=""), environment=FLASK)

    async def ask(number: int) -> dict[str, object]:
        head = request_head(
            "POST",
            "/score",
            f"a={number}",
            (("content-type", "application/json"), ("x-mine", str(number))),
        )
        answer = await caller.ask({"n": number}, head=head)
        assert answer.status == 200, answer.body
        return dict(json.loads(answer.body))

    for found, number in zip(await asyncio.gather(*map(ask, range(4))), range(4), strict=True):
        assert found == {
            "method": "POST",
            "mine": str(number),
            "a": str(number),
            "body": {"n": number},
            "name": "headrace_worker",
        }
