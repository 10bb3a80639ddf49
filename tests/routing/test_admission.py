"""An instance never runs more than its slots and never keeps a free one from who wants it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace_bus.routing.admission.admission import (
    GRANT_HOLD_S,
    Admission,
    Admitted,
    Busy,
    Draining,
    Duplicate,
)
from headrace_bus.wire.envelope import RequestFlag
from headrace_bus.wire.instance_control import (
    MAX_WANT,
    Backlog,
    Cancel,
    Credit,
    InstanceControl,
    Recall,
    Want,
    decode_control,
    encode_control,
    pack_backlog,
    unpack_backlog,
)

INGRESSES = ("one", "two", "three")


class AdmissionMachine(RuleBasedStateMachine):
    """No slot is idle while an ingress waits for it, in any order of requests, wants and time."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(2, standby=1)
        self.now = 0.0
        self.number = 0
        self.running: list[str] = []

    def held(self, ingress: str) -> int:
        known = self.admission._known.get(ingress)
        return len(known.holds) if known is not None else 0

    @rule(
        ingress=st.sampled_from(INGRESSES),
        behind=st.integers(0, 3),
        patient=st.booleans(),
        slot=st.booleans(),
    )
    def request(self, ingress: str, behind: int, patient: bool, slot: bool) -> None:
        self.number += 1
        name = str(self.number)
        room = patient or self.admission.in_flight < self.admission.slots
        entitled = self.held(ingress) > 0 or (self.admission.free > 0 and room)
        backlog = pack_backlog(Backlog(behind, 0, slot))
        flags = int(RequestFlag.STANDBY) if patient else 0
        verdict = self.admission.admit(name, ingress, flags, backlog, self.now)
        self.admission.grants(self.now)

        assert isinstance(verdict, Admitted if entitled else Busy)
        if isinstance(verdict, Admitted):
            self.running.append(name)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.running))
        self.running.remove(name)
        self.admission.finish(name, self.now)

    @precondition(lambda self: len(self.running) > self.admission.slots)
    @rule(overdue=st.booleans())
    def give_back(self, overdue: bool) -> None:
        places = self.admission.free
        self.admission.give_back(self.running.pop(), self.now, overdue=overdue)

        assert not overdue or self.admission.free <= places, "its place stays shut for now"

    @rule(ingress=st.sampled_from(INGRESSES), n=st.integers(0, 4), slot=st.booleans())
    def want(self, ingress: str, n: int, slot: bool) -> None:
        grants = self.admission.want(ingress, n, "reply", self.now, slot=slot)

        if slot and any(one.ingress_id == ingress for one in grants):
            used = self.admission.in_flight + self.held(ingress)
            assert used <= self.admission.slots, "a place beside one is of no use"

    @rule(slots=st.integers(0, 5), standby=st.integers(0, 2))
    def resize(self, slots: int, standby: int) -> None:
        self.admission.set_slots(slots, self.now, standby)

    @rule(seconds=st.floats(0, 2 * GRANT_HOLD_S))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.admission.expire(self.now)

    @invariant()
    def no_slot_is_free_while_an_ingress_wants_it(self) -> None:
        assert not (self.admission.wanted and self.admission.free)

    @invariant()
    def slots_add_up(self) -> None:
        held = sum(self.held(one) for one in INGRESSES)
        assert self.admission.in_flight == len(self.running)
        assert (held == 0) == (self.admission.next_expiry is None)
        if self.admission.free:
            places = self.admission.slots + self.admission.standby
            assert self.admission.free + held + len(self.running) <= places


TestAdmission = AdmissionMachine.TestCase


def test_a_freed_slot_goes_to_the_ingress_that_waited_first() -> None:
    admission = Admission(1)
    admission.admit("a", "one", 0, 0, 0.0)
    admission.want("two", 2, "inbox.two", 0.0)
    admission.want("three", 1, "inbox.three", 0.0)

    (first,) = admission.finish("a", 1.0)
    assert (first.ingress_id, first.reply, first.free) == ("two", "inbox.two", 1)
    assert isinstance(admission.admit("b", "one", 0, 0, 1.0), Busy)
    assert isinstance(admission.admit("c", "two", 1 << 8, 0, 1.0), Admitted)
    (second,) = admission.finish("c", 2.0)
    assert second.ingress_id == "three"


def test_a_freed_slot_goes_to_the_ingress_whose_request_has_waited_longest() -> None:
    admission = Admission(1)
    admission.admit("a", "one", 0, 0, 0.0)
    admission.want("two", 2, "inbox.two", 1.0, waited_ms=100)
    admission.want("three", 2, "inbox.three", 1.1, waited_ms=500)  # told later, has waited longer

    (first,) = admission.finish("a", 2.0)
    left = pack_backlog(Backlog(1, 100, slot=False))  # what waits behind it came after two's
    assert isinstance(admission.admit("b", "three", 0, left, 2.0), Admitted)
    (second,) = admission.finish("b", 2.5)
    assert isinstance(
        admission.admit("c", "two", 0, left, 2.5),
        Admitted,
    )
    (third,) = admission.finish("c", 3.0)

    assert [first.ingress_id, second.ingress_id, third.ingress_id] == ["three", "two", "three"]


@given(n=st.integers(0, 10**6), waited_ms=st.integers(0, 10**12), slot=st.booleans())
def test_a_backlog_fits_one_word_that_nobody_takes_for_nothing(
    n: int, waited_ms: int, slot: bool
) -> None:
    read = unpack_backlog(pack_backlog(Backlog(n, waited_ms, slot)))
    assert read == (min(n, MAX_WANT), min(waited_ms, 2**32) if n else 0, slot and n > 0)


def test_nobody_stands_by_before_who_has_waited_longer_and_needs_a_slot() -> None:
    """Who stands by has the slot as soon as it is free: it would never be free for the other."""
    admission = Admission(1, standby=1)
    admission.admit("a", "one", 0, 0, 0.0)
    assert admission.want("two", 1, "inbox.two", 0.0, 500, slot=True) == []
    assert admission.want("three", 1, "inbox.three", 0.0, 400) == []
    assert isinstance(admission.admit("b", "one", RequestFlag.STANDBY, 0, 0.0), Busy)

    first, beside = admission.finish("a", 1.0)
    assert (first.ingress_id, first.free) == ("two", 2), "the slot and the place beside it"
    assert (beside.ingress_id, beside.free) == ("three", 1)
    assert isinstance(admission.admit("c", "two", 0, 0, 1.0), Admitted)


def test_who_has_waited_longest_stands_by_before_a_younger_one_that_needs_a_slot() -> None:
    admission = Admission(1, standby=1)
    admission.admit("a", "one", 0, 0, 0.0)
    admission.want("two", 1, "inbox.two", 0.0, 500, slot=True)

    (granted,) = admission.want("three", 1, "inbox.three", 0.0, 900)
    assert (granted.ingress_id, granted.free) == ("three", 1)


def test_who_asks_for_a_slot_gives_back_the_place_beside_one() -> None:
    admission = Admission(1, standby=1)
    admission.admit("a", "one", 0, 0, 0.0)
    assert len(admission.want("two", 1, "inbox.two", 0.0)) == 1
    assert admission.want("two", 1, "inbox.two", 0.0, slot=True) == []

    (granted,) = admission.finish("a", 1.0)
    assert (granted.ingress_id, granted.free) == ("two", 2)


def test_the_answer_itself_tells_its_ingress_of_the_slot() -> None:
    admission = Admission(1)
    admission.admit("a", "one", 0, 0, 0.0)
    admission.want("one", 1, "inbox", 0.0)

    assert admission.finish("a", 1.0) == []
    assert admission.free_for("one") == 1
    assert admission.free_for("two") == 0


def test_a_grant_nobody_uses_goes_to_the_next_after_its_hold() -> None:
    admission = Admission(1)
    admission.want("one", 1, "inbox.one", 0.0)
    admission.want("two", 1, "inbox.two", 0.0)
    expiry = admission.next_expiry
    assert expiry is not None

    assert admission.expire(expiry - 0.001) == []
    assert [one.ingress_id for one in admission.expire(expiry)] == ["two"]


def test_who_stood_by_for_too_long_shuts_no_slot() -> None:
    """Were it one, nothing would run any more, and so nothing end and open it."""
    admission = Admission(1, standby=1)
    admission.admit("a", "one", 0, 0, 0.0)
    admission.admit("b", "one", RequestFlag.STANDBY, 0, 0.0)
    admission.finish("a", 0.01)  # lost with the only worker
    admission.set_slots(0, 0.01, standby=0)
    admission.give_back("b", 0.04, overdue=True)
    admission.set_slots(1, 0.5, standby=0)

    assert isinstance(admission.admit("c", "one", 0, 0, 0.5), Admitted)


def test_wanting_nothing_gives_the_held_slot_back_at_once() -> None:
    admission = Admission(1)
    admission.want("one", 1, "inbox.one", 0.0)
    admission.want("two", 1, "inbox.two", 0.0)

    assert [one.ingress_id for one in admission.want("one", 0, "", 0.0)] == ["two"]


def test_a_draining_instance_takes_nothing_and_a_resent_request_is_not_run_twice() -> None:
    admission = Admission(2)
    admission.admit("a", "one", 0, 0, 0.0)
    admission.admit("b", "one", 0, 0, 0.0)
    admission.finish("b", 0.0)

    assert admission.admit("a", "one", RequestFlag.RESENT, 0, 0.0) == Duplicate(finished=False)
    assert admission.admit("b", "one", RequestFlag.RESENT, 0, 0.0) == Duplicate(finished=True)
    admission.drain()
    assert isinstance(admission.admit("c", "one", 0, 0, 0.0), Draining)


@given(
    st.one_of(
        st.builds(
            Want,
            ingress_id=st.text(),
            n=st.integers(1, MAX_WANT),
            reply=st.text(),
            waited_ms=st.integers(0, 2**32),
            slot=st.booleans(),
        ),
        st.builds(Want, ingress_id=st.text(), n=st.just(0), reply=st.text()),
        st.builds(Cancel, request_id=st.text()),
        st.builds(Recall, request_id=st.text()),
        st.builds(Credit, request_id=st.text(), n=st.integers(0, 100)),
    )
)
def test_control_messages_survive_the_wire(message: InstanceControl) -> None:
    assert decode_control(encode_control(message)) == message
