import pytest
from podium.chain.blocks import fixed_bytes, head_of_block, log_of, quantity
from podium.chain.history import LogFilter
from podium.errors import ChainError


async def test_ranges_are_halved_where_they_are_too_large(scripted):
    chain = scripted.chain(1)
    chain.mine(2000, logs=2)
    chain.max_blocks, chain.max_logs = 300, 100
    logs = LogFilter(chain, [scripted.contract], [scripted.topic])
    found = await logs.between(1, 2000)
    assert [log.block_number for log in found] == [n for n in range(1, 2001) for _ in "ab"]
    before = len(chain.calls)
    await logs.between(1, 31)
    assert len(chain.calls) == before + 1  # it has learned
    chain.max_blocks = chain.max_logs = 10**9
    await logs.between(1, 2000)
    await logs.between(1, 2000)
    before = len(chain.calls)
    await logs.between(1, 2000)
    assert len(chain.calls) - before < 30  # and unlearned


async def test_ranges_are_no_smaller_than_they_must_be(scripted):
    chain = scripted.chain(1)
    chain.mine(2000)
    chain.max_blocks = 300
    await LogFilter(chain, [scripted.contract], [scripted.topic]).between(1, 2000)
    assert len(chain.calls) == 2 + 8  # 1000 and 500 are too many, 250 are not


async def test_logs_of_blocks_that_were_removed_are_none(scripted):
    chain = scripted.chain(1)
    chain.mine(2, logs=1)
    chain.blocks[1][1][0]["removed"] = True
    found = await LogFilter(chain, [scripted.contract], [scripted.topic]).between(1, 2)
    assert [log.block_number for log in found] == [2]


@pytest.mark.parametrize("answer", [None, {}, [None], [{"blockNumber": "0x1"}]])
async def test_what_are_no_logs_is_an_error(scripted, answer):
    chain = scripted.chain()
    chain._logs = lambda query, newest: answer
    with pytest.raises(ChainError, match="instead of"):
        await LogFilter(chain, [scripted.contract], [scripted.topic]).between(1, 2)


async def test_logs_of_blocks_that_were_not_asked_for_are_an_error(scripted):
    chain = scripted.chain()
    chain.mine(logs=1)
    chain._logs = lambda query, newest: chain.blocks[3][1]
    with pytest.raises(ChainError, match="logs of other blocks than 1 to 2"):
        await LogFilter(chain, [scripted.contract], [scripted.topic]).between(1, 2)


# What endpoints answer


@pytest.mark.parametrize("odd", [None, 5, "0x", "zz", [], {}, {"number": "0x1"}])
def test_what_is_no_block_or_log_is_an_error(odd):
    for read in (head_of_block, log_of, fixed_bytes, quantity):
        with pytest.raises(ChainError):
            read(odd)


def test_odd_logs(scripted):
    good = scripted.chain()._log(1, bytes(32), 0)
    assert log_of(good).data == b"\1"
    for odd in ({"data": "0xzz"}, {"data": 5}, {"topics": None}, {"address": "0x00"}):
        with pytest.raises(ChainError):
            log_of(good | odd)
