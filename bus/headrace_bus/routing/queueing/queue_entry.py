"""What dispatch binds to one another: a request, and an instance as one ingress knows it."""

from __future__ import annotations

from math import inf

from headrace_bus.routing.queueing.outliers import LatencyEstimate
from headrace_bus.wire.heartbeat import BATCHES, PULLS, InstanceHeartbeat, InstanceState


class QueueEntry:
    """One request from arrival to its end. Times are monotonic seconds."""

    __slots__ = (
        "abandoned",
        "arrived",
        "attempt",
        "deadline",
        "instance",
        "queue_deadline",
        "recalled",
        "request_id",
        "run_deadline",
        "run_timeout_s",
        "sent",
        "standby",
    )

    def __init__(
        self,
        request_id: str,
        *,
        arrived: float,
        queue_deadline: float,
        deadline: float,
        run_timeout_s: float,
    ) -> None:
        self.request_id = request_id
        self.arrived = arrived
        self.queue_deadline = queue_deadline
        self.deadline = deadline
        self.run_timeout_s = run_timeout_s
        self.attempt = 1
        self.instance: Instance | None = None
        self.sent = 0.0
        self.run_deadline = inf
        self.standby = self.recalled = False
        """Sent to an instance to wait there for a slot; and called back since."""
        self.abandoned = False
        """Nobody waits for the answer; the slot stays taken until it comes."""

    def close(self) -> None:
        """No answer is expected any more of what was sent so far."""

    def wait_anew(self, now: float) -> None:
        """In the queue for as long as one that came now."""
        wait_s = self.queue_deadline - self.arrived
        self.queue_deadline = min(now + wait_s, self.deadline)

    def run_anew(self, now: float) -> None:
        """With the whole time for `run` from now."""
        self.run_deadline = min(now + self.run_timeout_s, self.deadline)

    @property
    def may_stand_by(self) -> bool:
        """One that was lost once is not put at risk again before it can begin."""
        return self.attempt == 1

    @property
    def hurried(self) -> bool:
        """Whether its caller waits for less than the deployment's own limits allow."""
        return self.deadline < self.queue_deadline + self.run_timeout_s


class Instance:
    """What one ingress knows of one instance."""

    __slots__ = (
        "batches",
        "client",
        "epoch",
        "iid",
        "latency",
        "links",
        "open",
        "others",
        "pulls",
        "reach",
        "ready",
        "returning",
        "seen",
        "slots",
        "standby",
        "suspect",
        "wanted",
        "wanted_slot",
    )

    def __init__(self, iid: str) -> None:
        self.iid = iid
        self.epoch = 0
        self.links = 0
        """Connections it has had, as far as is known."""
        self.client = ""
        self.reach = ""
        """Who can hand files to it (`routing.handed`)."""
        self.pulls = False
        """It asks for large bodies by itself (`routing.far`)."""
        self.batches = False
        """It takes several requests in one message (`wire.batch`)."""
        self.slots = 0
        self.standby = 0
        """Requests that may wait there for a slot."""
        self.ready = False
        self.suspect = False
        self.seen = 0.0
        self.open: dict[str, QueueEntry] = {}
        """Requests of this ingress at the instance, by id."""
        self.returning: list[QueueEntry] = []
        """Of those, who is sent again when the instance has spoken."""
        self.latency = LatencyEstimate()
        self.others = 0
        """At least so many slots are used by others; exact when nothing of ours is on the way."""
        self.wanted = False
        """The instance knows that we wait."""
        self.wanted_slot = False
        """And that a place to stand by is of no use."""

    @property
    def usable(self) -> bool:
        return self.ready and not self.suspect

    @property
    def full(self) -> bool:
        """No slot is free; one may wait there."""
        return len(self.open) + self.others >= self.slots

    def heard(self, heartbeat: InstanceHeartbeat, now: float) -> None:
        """Take what it says of itself, but for what only counts against what is open here."""
        self.client, self.seen = heartbeat.client, now
        self.reach = heartbeat.reach
        self.pulls = PULLS in heartbeat.features
        self.batches = BATCHES in heartbeat.features
        self.slots, self.standby = heartbeat.slots, heartbeat.standby
        self.suspect = False
        self.ready = heartbeat.state == InstanceState.READY

    def learn(self, free: int) -> None:
        """Take the number of places the instance says this ingress may use now."""
        self.others = max(0, self.slots + self.standby - free - self.sent)

    @property
    def sent(self) -> int:
        """Requests of ours that are there, or on the way; what is kept for it is not."""
        return len(self.open) - len(self.returning)
