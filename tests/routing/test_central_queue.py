"""The ideal that dispatch is judged by."""

from __future__ import annotations

from headrace_simulation.dispatch import Job, central_queue


def test_a_central_queue_starts_the_first_waiting_request_on_the_first_free_server() -> None:
    jobs = [Job(0.0, 3.0), Job(0.0, 1.0), Job(0.0, 1.0), Job(5.0, 1.0)]

    assert central_queue(jobs, servers=2, latency_s=0.0).latency_s == [3.0, 1.0, 2.0, 1.0]
