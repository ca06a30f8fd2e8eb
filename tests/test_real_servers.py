"""keypin against nginx, and its pins against curl's: peers that nobody here wrote."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import httpx2
import pytest
from scene import HOST, NAMES, authority, connect, issuing, pinner_for, trusting

from keypin import PinMismatch
from keypin.client import Client
from keypin.lab import KEY_KINDS, Authority, Server

nginx = shutil.which("nginx", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
curl = shutil.which("curl")

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log combined buffer=1;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    log_format bytes '$request_length $ssl_session_reused $ssl_client_s_dn';
    server {{
        listen unix:{folder}/unused.sock;
    }}
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name localhost;
        ssl_protocols TLSv{version};
        ssl_certificate {folder}/chain.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_session_cache shared:sessions:1m;
        ssl_client_certificate {folder}/clients.pem;
        ssl_verify_client optional;
        access_log {folder}/requests.log bytes;
        location / {{ return 200 "nginx here"; }}
    }}
}}
"""


@contextlib.contextmanager
def running_nginx(folder: Path, credential, version, clients):
    credential.write(folder)
    (folder / "clients.pem").write_text(clients.pem)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, version=version))
    process = subprocess.Popen([nginx, "-p", folder, "-c", configuration, "-e", "stderr"])
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "nginx ended"
        yield port
    finally:
        process.terminate()
        process.wait(20)


def requests_seen(folder: Path) -> list[str]:
    return (folder / "requests.log").read_text().splitlines()


@pytest.mark.skipif(nginx is None, reason="needs nginx (make system-deps)")
@pytest.mark.parametrize("kind", KEY_KINDS)
def test_nginx_with_the_pinned_key_is_reached_and_with_another_gets_no_request(
    kind, version, tmp_path
):
    clients = Authority("CA of the clients")
    me = clients.issue(common_name="me", extended_key_usage=["clientAuth"]).write(tmp_path / "me")
    right, wrong = issuing().issue(*NAMES, key=kind), issuing().issue(*NAMES, key=kind)
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    (certificates / "myCertificate.cer").write_bytes(right.certificate)
    cafile = tmp_path / "ca.pem"
    cafile.write_text(authority().pem)
    for credential in (right, wrong):
        folder = tmp_path / ("right" if credential is right else "wrong")
        with (
            running_nginx(folder, credential, version, clients) as port,
            Client(
                f"https://{HOST}:{port}",
                certificates,
                cafile,
                client_certificate=(me.chain, me.key),
                trust_env=False,
            ) as client,
        ):
            client.pin_trusted_certificate_public_key("myCertificate.cer")
            if credential is right:
                assert client.get("/").text == "nginx here"
            else:
                for method in ("GET", "POST"):
                    with pytest.raises(PinMismatch):
                        client.request(method, "/", headers={"Authorization": "secret"})
                # the control: nginx does log a request of a client that pins nothing
                context = ssl.create_default_context(cafile=cafile)
                httpx2.get(f"https://{HOST}:{port}/", verify=context, trust_env=False)
        (line,) = requests_seen(folder)
        assert line.endswith("CN=me" if credential is right else "-")


@pytest.mark.skipif(nginx is None, reason="needs nginx (make system-deps)")
def test_a_session_of_nginx_is_resumed_and_judged(version, tmp_path):
    credential = issuing().issue(*NAMES)
    pinner = pinner_for(credential)
    context = trusting(pinner)
    folder = tmp_path / "nginx"
    with running_nginx(folder, credential, version, Authority("none")) as port:

        class Address:
            address = ("127.0.0.1", port)

        def request(session=None):
            with connect(context, Address, session=session) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                while connection.recv(4096):
                    pass
                return connection.session, connection.session_reused

        session, resumed = request()
        assert not resumed
        assert request(session)[1]
        pinner.replace(pinner_for(issuing().issue(HOST)).pins)
        with pytest.raises(PinMismatch):
            request(session)
    assert len(requests_seen(folder)) == 2


@pytest.mark.skipif(curl is None, reason="needs curl (make system-deps)")
@pytest.mark.parametrize("kind", KEY_KINDS)
def test_curl_accepts_the_same_pin_and_refuses_another(kind, tmp_path):
    credential, other = issuing().issue(*NAMES, key=kind), issuing().issue(*NAMES, key=kind)
    cafile = tmp_path / "ca.pem"
    cafile.write_text(authority().pem)
    with Server(credential) as server:
        for pin, code in ((credential.pin, 0), (other.pin, 90)):
            text = str(pin).replace("sha256/", "sha256//", 1)
            command = [curl, "--silent", "--cacert", cafile, "--pinnedpubkey", text]
            done = subprocess.run(
                [*command, server.url_for("127.0.0.1")],
                capture_output=True,
                timeout=60,
                env={},
            )
            assert done.returncode == code
