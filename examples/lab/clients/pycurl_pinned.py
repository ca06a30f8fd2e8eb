"""pycurl with libcurl's PINNEDPUBLICKEY: the SHA-256 of the leaf's public key, of one handle."""

import io

import pycurl
from calls import HEADERS, TIMEOUT, call_both, parse

arguments = parse()
handle = pycurl.Curl()
handle.setopt(pycurl.CAINFO, arguments.cafile)
handle.setopt(pycurl.PINNEDPUBLICKEY, arguments.curl_pins)
handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in HEADERS.items()])
handle.setopt(pycurl.FAILONERROR, True)
handle.setopt(pycurl.TIMEOUT, int(TIMEOUT))
if arguments.client_certificate:
    handle.setopt(pycurl.SSLCERT, arguments.client_certificate)


def call(url):
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.WRITEDATA, io.BytesIO())
    handle.perform()


call_both(call, arguments)
