"""What keeps looking, whatever happens to one look."""

import asyncio

from podium.protocol.keeper import Keeper, Pace


class Stumbling(Keeper):
    """Fails in a way that nobody has thought of, until it works."""

    def __init__(self, faults):
        super().__init__(pace=Pace(check_s=0.001, retry_s=0.001))
        self.faults = list(faults)
        self.done = asyncio.Event()

    def wanted(self):
        return not self.done.is_set()

    async def attempt(self):
        if self.faults:
            raise self.faults.pop(0)
        self.done.set()


async def test_a_fault_of_ours_does_not_end_the_looking(caplog):
    """An endpoint's nonsense once ended the calling of rewards for good."""
    keeper = Stumbling(
        [TypeError("'NoneType' object is not subscriptable"), ValueError(), KeyError()]
    )
    task = asyncio.create_task(keeper.run())
    try:
        async with asyncio.timeout(2):
            await keeper.done.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert keeper.errors == 3
    assert [record.message for record in caplog.records] == ["a look failed"] * 3
