"""aiohttp's Fingerprint: the SHA-256 of the whole certificate, instead of its verification."""

import asyncio
import hashlib
import sys
from pathlib import Path

import aiohttp
from calls import HEADERS, call_both_async, parse

arguments = parse()
digest = hashlib.sha256(Path(arguments.certificate).read_bytes()).digest()


async def main():
    async with aiohttp.ClientSession(headers=HEADERS, trust_env=True) as session:

        async def call(url):
            async with session.get(url, ssl=aiohttp.Fingerprint(digest)) as response:
                response.raise_for_status()
                await response.read()

        return await call_both_async(call, arguments)()


sys.exit(asyncio.run(main()))
