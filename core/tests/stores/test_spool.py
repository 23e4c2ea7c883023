import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from podium import crypto
from podium.errors import StoreError
from podium.stores import spool
from podium.stores.spool import BodyTooLarge, SpoolBudget, SpooledBody


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.mark.parametrize("on_disk", [False, True])
async def test_hash_content_and_descriptor(executor, tmp_path, on_disk):
    body = SpooledBody(
        executor, SpoolBudget(2**30), limit_bytes=2**30, folder=tmp_path if on_disk else None
    )
    data = os.urandom(9 * 2**20 + 7)
    for start in range(0, len(data), 100_000):
        await body.write(data[start : start + 100_000])
    assert body.size_bytes == len(data)
    assert await body.keccak256() == crypto.keccak256(data)
    assert b"".join([piece async for piece in body]) == data
    assert os.pread(body.fileno(), 10, 5) == data[5:15]
    fd = body.fileno()
    await body.close()
    await body.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [5, 100_000])
async def test_a_small_body_gets_a_file_when_it_is_asked_for(executor, size):
    body = SpooledBody(executor, SpoolBudget(2**30), limit_bytes=2**30)
    data = os.urandom(size)
    await body.write(data[:3])
    await body.write(data[3:])
    assert b"".join([piece async for piece in body]) == data
    fd = body.fileno()
    assert os.pread(fd, size + 1, 0) == data
    assert body.fileno() == fd
    assert b"".join([piece async for piece in body]) == data
    assert await body.keccak256() == crypto.keccak256(data)
    await body.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    assert body.fileno() == -1


async def test_no_room_for_the_file_is_a_typed_error(executor, monkeypatch):
    body = SpooledBody(executor, SpoolBudget(2**30), limit_bytes=10)
    await body.write(b"x")

    def full(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool.os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        body.fileno()
    monkeypatch.undo()
    await body.close()


async def test_the_empty_body(executor):
    body = SpooledBody(executor, SpoolBudget(2**30), limit_bytes=10)
    assert await body.keccak256() == crypto.keccak256(b"")
    await body.close()


async def test_limit(executor):
    body = SpooledBody(executor, SpoolBudget(2**30), limit_bytes=10)
    await body.write(b"x" * 10)
    with pytest.raises(BodyTooLarge):
        await body.write(b"x")
    await body.close()


async def test_a_full_disk_is_a_typed_error(executor, tmp_path, monkeypatch):
    body = SpooledBody(executor, SpoolBudget(2**30), limit_bytes=10, folder=tmp_path)

    def full(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool.os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        await body.write(b"x")
    monkeypatch.undo()
    await body.close()


async def test_no_spool_folder_is_a_typed_error(executor, tmp_path):
    with pytest.raises(StoreError, match="No such file"):
        SpooledBody(executor, SpoolBudget(2**30), limit_bytes=10, folder=tmp_path / "missing")


async def test_all_bodies_together_have_a_budget_that_comes_back(executor):
    budget = SpoolBudget(100)
    first = SpooledBody(executor, budget, limit_bytes=100)
    second = SpooledBody(executor, budget, limit_bytes=100)
    await first.write(b"x" * 60)
    with pytest.raises(StoreError, match=r"storage\.spool_limit_mb"):
        await second.write(b"x" * 41)
    await second.close()
    await first.close()
    await first.close()
    assert budget.used_bytes == 0
