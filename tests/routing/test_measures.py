"""What is measured of answers, and what is not."""

from __future__ import annotations

from headrace_bus.wire.envelope import AnswerKind
from headrace_telemetry.clock import monotonic
from routing.edges import EPOCH, Edge, edge_on
from routing.test_dispatch import beat
from support.nats_server import NatsServer


async def scored(edge: Edge, exec_us: int) -> None:
    request, reply = await edge.ask(b"1")
    await edge.answer(request, reply, AnswerKind.DONE, EPOCH, exec_us=exec_us)
    await edge.body()


async def test_an_answer_without_a_run_is_no_measure_of_it(nats_server: NatsServer) -> None:
    """Of a `run` that raised or a wrong method: with its -1 us an instance looked quick."""
    async with edge_on(nats_server) as edge:
        edge.channel.beat(beat("other", slots=1, epoch=EPOCH), monotonic())
        latency = edge.channel.dispatch.instances["one"].latency
        await scored(edge, -1)
        assert (latency.samples, edge.channel.metrics.run_s.count) == (0, 0)

        await scored(edge, 1_500)
        assert (latency.samples, edge.channel.metrics.run_s.count) == (1, 1)
        assert edge.channel.metrics.run_s.sum == 0.0015
