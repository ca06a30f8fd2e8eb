"""Clients of a service that speak HTTP through a library: boto3, elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from keypin.lab import Http, Response

from ..client import TIMEOUT, Client, Endpoint, Request, event_loop

BUCKETS = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b'<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Owner><ID>1</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>"
)
CLUSTER = b'{"tagline": "You Know, for Search", "version": {"number": "9.0.0"}}'
OF_ELASTICSEARCH = {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}


@contextmanager
def by_boto3(endpoint: Endpoint) -> Iterator[Request]:
    """A client of S3, with its usual retries but one."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        region_name="eu-central-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        verify=endpoint.cafile,
        config=Config(
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
            client_cert=endpoint.client_certificate,
            proxies={"https": endpoint.proxy} if endpoint.proxy else None,
            retries={"total_max_attempts": 2},
        ),
    )
    try:
        yield client.list_buckets
    finally:
        client.close()


def elasticsearch_settings(endpoint: Endpoint, node_class: str) -> dict[str, Any]:
    """What both of elasticsearch's clients are given."""
    settings = {"ca_certs": endpoint.cafile, "request_timeout": TIMEOUT, "node_class": node_class}
    if endpoint.client_certificate:
        settings["client_cert"] = endpoint.client_certificate
    return settings


@contextmanager
def by_elasticsearch(node_class: str, endpoint: Endpoint) -> Iterator[Request]:
    """A client over one of elastic-transport's kinds of connection."""
    from elasticsearch import Elasticsearch

    with Elasticsearch(endpoint.url, **elasticsearch_settings(endpoint, node_class)) as client:
        yield client.info


@contextmanager
def by_elasticsearch_async(node_class: str, endpoint: Endpoint) -> Iterator[Request]:
    """An asynchronous client."""
    from elasticsearch import AsyncElasticsearch

    async def open_client() -> AsyncElasticsearch:
        return AsyncElasticsearch(endpoint.url, **elasticsearch_settings(endpoint, node_class))

    with event_loop() as portal:
        client = portal.call(open_client)
        try:
            yield lambda: portal.call(client.info)
        finally:
            portal.call(client.close)


SEARCH = {
    "application": Http(lambda request: Response(CLUSTER, headers=OF_ELASTICSEARCH)),
    "proxy": False,
}
LIBRARIES = ("elasticsearch", "elastic-transport")
CLIENTS = [
    Client(
        "boto3",
        by_boto3,
        ("boto3", "botocore", "urllib3"),
        application=Http(lambda request: Response(BUCKETS)),
        notes="with one retry (`total_max_attempts` 2; its usual number is 5)",
    ),
    Client(
        "elasticsearch, urllib3",
        partial(by_elasticsearch, "urllib3"),
        (*LIBRARIES, "urllib3"),
        **SEARCH,
    ),
    Client(
        "elasticsearch, requests",
        partial(by_elasticsearch, "requests"),
        (*LIBRARIES, "requests"),
        **SEARCH,
    ),
    Client(
        "elasticsearch, aiohttp",
        partial(by_elasticsearch_async, "aiohttp"),
        (*LIBRARIES, "aiohttp", "anyio"),
        **SEARCH,
    ),
    Client(
        "elasticsearch, httpx",
        partial(by_elasticsearch_async, "httpxasync"),
        (*LIBRARIES, "httpx", "anyio"),
        **SEARCH,
    ),
]
