"""Programs that make requests in every way to a server that is pinned and one that is refused.

They print the name of each way that came out right, and collect their garbage, so that whatever
somebody forgot is complained of. `BEGIN` comes first in each.
"""

from __future__ import annotations

BEGIN = """
import asyncio, contextlib, gc, logging, os, socket, ssl, sys, urllib.request
from urllib.parse import urlsplit

import keypin
from keypin import Pinner, PinSet

# refusals would be told of on standard error
logging.getLogger("keypin").addHandler(logging.NullHandler())

RIGHT, WRONG = os.environ["RIGHT"], os.environ["WRONG"]
CA, ME = os.environ["CA"], os.environ["ME"]
ALLOWING, REFUSING = (PinSet({"localhost": [os.environ[name]]}) for name in ("PIN", "BACKUP"))
REQUEST = b"GET / HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n"

def guarded(pinner):
    return pinner.create_context(cafile=CA)

def showing(pinner):
    context = guarded(pinner)
    context.load_cert_chain(ME)
    return context

def protected(pinner):
    return pinner.protect(plain())

def plain(pinner=None):
    return ssl.create_default_context(cafile=CA)

def is_refused(error):
    assert keypin.find_error(error) is not None, error
    return True
"""

BLOCKING = """
import http.client
import httpx2, requests, urllib3
from requests.adapters import HTTPAdapter

def by_socket(context, url, at_once=True):
    tcp = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), 20)
    with context.wrap_socket(
        tcp, server_hostname="localhost", do_handshake_on_connect=at_once
    ) as tls:
        tls.sendall(REQUEST)
        while tls.recv(4096):
            pass

def implicitly(context, url):
    by_socket(context, url, at_once=False)

def never_shaken(context, url):
    tcp = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), 20)
    context.wrap_socket(tcp, server_hostname="localhost", do_handshake_on_connect=False).close()
    by_socket(context, url)

def by_http_client(context, url):
    with contextlib.closing(
        http.client.HTTPSConnection("localhost", urlsplit(url).port, context=context, timeout=20)
    ) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()

def by_urllib(context, url):
    with urllib.request.urlopen(url, context=context, timeout=20) as response:
        response.read()

def by_urllib3(context, url):
    with urllib3.PoolManager(ssl_context=context, retries=False) as pool:
        pool.request("GET", url)

class Adapter(HTTPAdapter):
    def __init__(self, context):
        self.context = context
        super().__init__()

    def init_poolmanager(self, *arguments, **more):
        super().init_poolmanager(*arguments, ssl_context=self.context, **more)

def by_requests(context, url):
    with requests.Session() as session:
        session.mount("https://", Adapter(context))
        session.get(url, verify=CA, timeout=20).raise_for_status()

def by_httpx2(context, url):
    with httpx2.Client(verify=context, timeout=20) as client:
        client.get(url).raise_for_status()

WAYS = (
    by_socket, implicitly, never_shaken, by_http_client, by_urllib, by_urllib3, by_requests,
    by_httpx2,
)

def attempt(way, context, url):
    try:
        way(context, url)
    except Exception as error:
        assert url is WRONG, error
        is_refused(error)
    else:
        assert url is RIGHT
    gc.collect()

pinner = Pinner(ALLOWING)
for way in WAYS:
    for make in (guarded, showing, protected):
        for url in (RIGHT, WRONG, WRONG):
            attempt(way, make(pinner), url)
    with Pinner(ALLOWING).installed():
        for url in (RIGHT, WRONG):
            attempt(way, plain(), url)
    print(way.__name__)

# what is open when the pins change
for make in (guarded, showing):
    context = make(pinner)
    with requests.Session() as session, httpx2.Client(verify=context) as client:
        session.mount("https://", Adapter(context))
        for get in (session.get, client.get):
            get(RIGHT).raise_for_status()
            pinner.replace(REFUSING)
            try:
                get(RIGHT)
            except Exception as error:
                is_refused(error)
            else:
                raise AssertionError
            pinner.replace(ALLOWING)
            get(RIGHT).raise_for_status()
with requests.Session() as session:
    session.get(RIGHT, verify=CA)
    with Pinner(REFUSING).installed():
        try:
            session.get(RIGHT, verify=CA)
        except requests.exceptions.SSLError as error:
            is_refused(error)
print("replaced")

# no server name, and a context that does not verify
with Pinner(ALLOWING).installed():
    unverified = ssl._create_unverified_context()
    for context, name in ((unverified, "localhost"), (unverified, None)):
        tcp = socket.create_connection((urlsplit(RIGHT).hostname, urlsplit(RIGHT).port), 20)
        try:
            context.wrap_socket(tcp, server_hostname=name)
        except ssl.SSLError as error:
            is_refused(error)
        else:
            raise AssertionError
        gc.collect()
print("unverified")

from keypin.client import Client

with Client(base_url=RIGHT, certificates=os.environ["FOLDER"], cafile=CA) as client:
    for name, url in (("pinned.cer", RIGHT), ("pinned.cer", WRONG)):
        client.pin_trusted_certificate_public_key(name)
        try:
            client.get(url)
        except keypin.PinMismatch:
            assert url is WRONG
        else:
            assert url is RIGHT
print("client")
gc.collect()
"""

ASYNCHRONOUS = """
import aiohttp, httpx2
from keypin.client import AsyncClient

async def by_streams(context, url):
    reader, writer = await asyncio.open_connection(
        "localhost", urlsplit(url).port, ssl=context, server_hostname="localhost"
    )
    writer.write(REQUEST)
    try:
        await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

async def by_start_tls(context, url):
    reader, writer = await asyncio.open_connection("localhost", urlsplit(url).port)
    try:
        await writer.start_tls(context, server_hostname="localhost")
        writer.write(REQUEST)
        await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

async def by_aiohttp(context, url):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        async with session.get(url) as response:
            await response.read()

async def by_httpx2(context, url):
    async with httpx2.AsyncClient(verify=context) as client:
        (await client.get(url)).raise_for_status()

async def cancelled(context, url):
    task = asyncio.create_task(by_streams(context, url))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await by_streams(context, url)

async def attempt(way, context, url):
    try:
        await way(context, url)
    except Exception as error:
        assert url is WRONG, error
        is_refused(error)
    else:
        assert url is RIGHT
    gc.collect()

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # not how fast this machine is
    pinner = Pinner(ALLOWING)
    for way in (by_streams, by_start_tls, by_aiohttp, by_httpx2, cancelled):
        for make in (guarded, showing, protected):
            for url in (RIGHT, WRONG, WRONG):
                await attempt(way, make(pinner), url)
        with Pinner(ALLOWING).installed():
            for url in (RIGHT, WRONG):
                await attempt(way, plain(), url)
        print(way.__name__)
    for make in (guarded, showing):
        context = make(pinner)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            async def get():
                async with session.get(RIGHT) as response:
                    await response.read()
            await get()
            pinner.replace(REFUSING)
            try:
                await get()
            except aiohttp.ClientError as error:
                is_refused(error)
            else:
                raise AssertionError
            pinner.replace(ALLOWING)
            await get()
    reader, writer = await asyncio.open_connection(
        "localhost", urlsplit(RIGHT).port, ssl=guarded(pinner)
    )
    pinner.replace(REFUSING)
    try:
        writer.write(REQUEST)
        await reader.read()
    except OSError:
        pass
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    print("replaced")
    async with AsyncClient(base_url=RIGHT, certificates=os.environ["FOLDER"], cafile=CA) as client:
        await client.pin_trusted_certificate_public_key("pinned.cer")
        await client.get(RIGHT)
        try:
            await client.get(WRONG)
        except keypin.PinMismatch:
            print("client")
    gc.collect()

asyncio.run(main())
gc.collect()
"""
