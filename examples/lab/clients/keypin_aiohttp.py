"""aiohttp, pinned by keypin: its context, or the whole process."""

import asyncio
import sys

import aiohttp
from calls import HEADERS, call_both_async, parse, pinned_context

arguments = parse("context", "installed")
context = pinned_context(arguments)


async def https_only(request, send):
    """Pins hold inside TLS only, so nothing is sent outside of it; asked for each redirect, too."""
    if request.url.scheme != "https":
        raise aiohttp.NonHttpUrlClientError(request.url)
    return await send(request)


async def main():
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, trust_env=True, middlewares=[https_only]
    ) as session:

        async def call(url):
            async with session.get(url) as response:
                response.raise_for_status()
                await response.read()

        return await call_both_async(call, arguments)()


sys.exit(asyncio.run(main()))
