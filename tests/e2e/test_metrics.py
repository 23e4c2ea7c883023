"""What the admin port says about payments that a sender really made."""

import pytest
from podium.crypto import checksum_address


@pytest.mark.parametrize("per_stream", [True, False])
async def test_payments_are_counted_by_stream_and_sender_when_asked_for(world, per_stream):
    node = await world.node(node={"metrics_per_stream": per_stream})
    sender = await world.sender(node)
    assert (await sender.send(tickets=2)).status_code == 200
    assert (await sender.send(tickets=1, path="/payment")).status_code == 200
    sender.nonce = 0
    assert (await sender.send(tickets=1)).status_code == 400  # a nonce that was used

    page = await sender.client.get(f"http://127.0.0.1:{node.admin.port}/metrics")
    lines = [line for line in page.text.splitlines() if "_recv" in line and line[0] != "#"]
    named = f'sender="{checksum_address(sender.signer.address)}"' if per_stream else ""
    ours = [line for line in lines if 'manifest_id="movie"' in line and named in line]
    if not per_stream:
        assert not ours
        assert not any("sender" in line for line in lines)
        ours = lines
    counts = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in ours}
    winners = counts.pop("livepeer_winning_tickets_recv")
    assert 0 <= winners <= 4  # a winner that is sent again wins again, as in the reference
    assert counts == {
        "livepeer_tickets_recv": 3,
        "livepeer_ticket_value_recv": 3 * 8,
        "livepeer_payment_recv_errors": 1,
    }
