"""A client of the `websockets` package: client.py ADDRESS CASE. Exits with 0 when the case holds."""

import asyncio
import sys

from websockets.asyncio.client import connect


def equal(got, expected):
    assert got == expected, f"got {got!r:.200}, expected {expected!r:.200}"


def opened(address):
    options = {"max_size": None, "ping_interval": None, "proxy": None, "subprotocols": ["chat"]}
    return connect(f"ws://{address}/ws/echo?a=b", **options)


async def echo(address):
    async with opened(address) as socket:
        equal(socket.subprotocol, "chat")
        for message in ("text", "用户", b"\x00\xff", "", "x" * 200_000):
            await socket.send(message)
            equal(await socket.recv(), message)
        await (await socket.ping())


async def large(address):
    async with opened(address) as socket:
        message = bytes(range(256)) * (5 * 4096)
        await socket.send(message)
        equal(await socket.recv(), message)


async def many(address):
    """Upgrades by the hundred, a few at a time: each must live long enough to be used."""
    async def one(i):
        async with opened(address) as socket:
            await socket.send(str(i))
            equal(await socket.recv(), str(i))

    for start in range(0, 300, 10):
        await asyncio.gather(*(one(i) for i in range(start, start + 10)))


async def idle(address):
    """Longer than every timeout of the test's gateway."""
    async with opened(address) as socket:
        await asyncio.sleep(3)
        await socket.send("still there")
        equal(await socket.recv(), "still there")


async def main():
    _, address, case = sys.argv
    await asyncio.wait_for(globals()[case](address), 120)
    print("ok")


if __name__ == "__main__":
    asyncio.run(main())
