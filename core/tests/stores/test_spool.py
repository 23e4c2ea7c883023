import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from podium import crypto
from podium.errors import StoreError
from podium.stores import spool
from podium.stores.spool import BodyTooLarge, SpooledBody


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.mark.parametrize("on_disk", [False, True])
async def test_hash_content_and_descriptor(executor, tmp_path, on_disk):
    body = SpooledBody(executor, limit_bytes=2**30, folder=tmp_path if on_disk else None)
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


async def test_the_empty_body(executor):
    body = SpooledBody(executor, limit_bytes=10)
    assert await body.keccak256() == crypto.keccak256(b"")
    await body.close()


async def test_limit(executor):
    body = SpooledBody(executor, limit_bytes=10)
    await body.write(b"x" * 10)
    with pytest.raises(BodyTooLarge):
        await body.write(b"x")
    await body.close()


async def test_a_full_disk_is_a_typed_error(executor, monkeypatch):
    body = SpooledBody(executor, limit_bytes=10)

    def full(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool.os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        await body.write(b"x")
    monkeypatch.undo()
    await body.close()


async def test_no_spool_folder_is_a_typed_error(executor, tmp_path):
    with pytest.raises(StoreError, match="No such file"):
        SpooledBody(executor, limit_bytes=10, folder=tmp_path / "missing")
