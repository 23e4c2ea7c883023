"""What redemption takes of a sender's funds, and the gas that it allows a batch."""

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from podium.model import TicketRecord, TicketState, WinningTicket
from podium.payments.redeem.appetite import BASE_GAS, REMEMBERED, Appetite
from podium.payments.redeem.books import Entry, Float, Phase
from podium.payments.redeem.ports import Redemption

MOST = 350_000
DONE = Redemption(1, b"\x01" * 32, 1)


def entry(number, floated, state):
    winner = WinningTicket(
        *(b"\x01" * 20, b"\x02" * 20, 10**number, 1, number, bytes(32), 1, bytes(32), 1, 1),
        signature=number.to_bytes(65, "big"),
    )
    return Entry(bytes([number]), TicketRecord(winner, state=state, created_at=""), floated)


CHANGES = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([*Phase, *TicketState])), max_size=30
)


@given(st.lists(st.sampled_from(TicketState), min_size=5, max_size=5), CHANGES)
def test_the_float_is_the_sum_of_what_is_in_flight(states, changes):
    floated = Float()
    entries = [entry(number, floated, state) for number, state in enumerate(states)]

    def in_flight():
        return sum(
            each.ticket.face_value
            for each in entries
            if each.record.state is TicketState.SUBMITTED
            or each.phase in {Phase.CHECKED, Phase.SENDING}
        )

    assert floated.wei == in_flight()
    for number, change in changes:
        if isinstance(change, Phase):
            entries[number].phase = change
        else:
            entries[number].record = evolve(entries[number].record, state=change)
        assert floated.wei == in_flight()


def test_a_first_batch_may_take_the_most_and_later_ones_what_was_usual():
    appetite = Appetite(MOST)
    assert appetite.limit(20) == BASE_GAS + 20 * MOST
    appetite.learn(2_000_000, [DONE] * 20)
    assert appetite.limit(20) == BASE_GAS + MOST + 19 * 150_000
    appetite.learn(1_000_000, [DONE] * 20)  # the dearest of those remembered counts
    assert appetite.limit(2) == BASE_GAS + MOST + 150_000
    for _ in range(REMEMBERED):
        appetite.learn(1_000_000, [DONE] * 20)
    assert appetite.limit(2) == BASE_GAS + MOST + 75_000


def test_a_single_redemption_says_nothing_about_batches():
    appetite = Appetite(MOST)
    appetite.learn(120_000, [DONE])
    assert appetite.limit(2) == BASE_GAS + 2 * MOST


def test_a_ticket_left_out_may_have_starved():
    appetite = Appetite(MOST)
    appetite.learn(200_000, [DONE] * 2)
    appetite.learn(200_000, [DONE, None])
    assert appetite.limit(2) == BASE_GAS + 2 * MOST
    appetite.learn(200_000, [DONE] * 2)
    appetite.forget()
    assert appetite.limit(2) == BASE_GAS + 2 * MOST


@given(st.integers(2, 50), st.lists(st.integers(1, 10**9), max_size=20))
def test_a_limit_never_passes_the_most(tickets, used):
    appetite = Appetite(MOST)
    for gas in used:
        appetite.learn(gas, [DONE] * tickets)
    assert BASE_GAS + MOST < appetite.limit(tickets) <= BASE_GAS + tickets * MOST
