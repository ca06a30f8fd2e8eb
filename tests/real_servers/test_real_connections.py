"""Connections to real servers that last, come back, or show a client certificate."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from scene import (
    HOST,
    NAMES,
    VERSIONS,
    authority,
    connect,
    issuing,
    pinned,
    pinner_for,
    pins_for,
    trusting,
    unpinned,
)

from keypin import PinMismatch, PinSet, Reason, Rule
from keypin.client import Client, Unreachable

from .conftest import clients_authority, programs
from .frontends import Frontend
from .programs import soon
from .serving import get, serving

openssl = shutil.which("openssl")

# Reloads


def test_a_renewal_and_a_rotation_by_reload_reach_kept_connections_and_new_ones(
    program, word, cafile, tmp_path
):
    primary, backup = issuing().issue(*NAMES), issuing().issue(*NAMES)
    (tmp_path / "primary.cer").write_bytes(primary.certificate)
    (tmp_path / "backup.cer").write_bytes(backup.certificate)
    accepted, verdicts = [], []

    def presenting(credential):
        return {f"tls-{each}": Frontend(each, {HOST: [credential]}) for each in VERSIONS}

    with ExitStack() as stack:
        server = stack.enter_context(serving(program, **presenting(primary)))

        def client(frontend, *names, **more):
            place = server.at(frontend)
            client = Client(place.url(""), tmp_path, cafile, trust_env=False, **more)
            client.pin_trusted_certificate_public_key([f"{name}.cer" for name in names])
            return stack.enter_context(client)

        def reached(client):
            accepted.append(word("accepted"))
            assert client.get(f"?{accepted[-1]}").text == program.name

        def refused(client):
            with pytest.raises(PinMismatch) as caught:
                client.get(f"?{word('refused')}")
            assert caught.value.served[0][0] == backup.pin

        names = presenting(primary)
        with_backup = [
            client(name, "primary", "backup", on_verdict=verdicts.append) for name in names
        ]
        without = [client(name, "primary") for name in names]
        for each in with_backup + without:
            reached(each)
        for presented in (primary.renew(), backup):
            server.reload(**presenting(presented))
            for each in with_backup:
                reached(each)
            for name in names:
                reached(client(name, "primary", "backup"))
                (refused if presented is backup else reached)(client(name, "primary"))
        # stunnel keeps a connection, with the key that it began with; the others close it, or let
        # it time out, so that the client connects anew
        for each in without:
            (reached if program.behind else refused)(each)
        assert len(verdicts) == len(names) * (1 if program.behind else 3)
        assert sorted(server.requests("tls-1.3")) == sorted(accepted)
        assert "refused-" not in server.said()


# Sessions


@pytest.mark.parametrize("kept_by", ["tickets", "remembers"])
def test_a_session_is_resumed_and_judged_by_the_pins_of_now(
    kept_by, version, program, server, word
):
    name = f"{kept_by}-{version}"
    pinner = pinner_for(pinned())
    context = trusting(pinner)

    def request(fate, session=None):
        with connect(context, server.at(name), session=session) as connection:
            assert get(connection, word(fate)) == program.name
            session, resumed = connection.session, connection.session_reused
            with contextlib.suppress(OSError):
                connection.unwrap()  # stunnel forgets a session that did not end in order
            return session, resumed

    session, resumed = request("accepted")
    assert not resumed
    # in TLS 1.3 a session that the server remembers is named by a ticket, too
    assert session.has_ticket == (kept_by == "tickets" or version == "1.3")
    session, resumed = request("accepted", session)
    assert resumed
    pinner.replace(pins_for(unpinned()))
    for again in (session, None):
        with pytest.raises(PinMismatch) as caught:
            request("refused", again)
        assert caught.value.served[0][0] == pinned().pin
    pinner.replace(pins_for(pinned()))
    _, resumed = request("accepted", session)
    # the refused connection did not end in order, either; stunnel learns of it in its own time
    assert resumed or (program.behind and kept_by == "remembers")
    assert not any(each.startswith("refused") for each in server.requests(name))


# Client certificates


def client_certificate(name, folder):
    me = clients_authority().issue(common_name=name, extended_key_usage=["clientAuth"])
    return me.write(folder / name)


def test_a_client_certificate_is_shown_to_the_pinned_server_only(
    version, program, server, word, tmp_path
):
    name = f"clients-{version}"
    place = server.at(name)
    shown, withheld = f"shown-to-{version}", f"withheld-from-{version}"
    for me, pin in ((shown, pinned()), (withheld, unpinned())):
        files = client_certificate(me, tmp_path)
        context = trusting(pinner_for(pin))
        context.load_cert_chain(files.chain, files.key)
        if me is shown:
            with connect(context, place) as connection:
                assert get(connection, word("accepted")) == program.name
        else:
            with pytest.raises(PinMismatch):
                get(connect(context, place), word("refused"))
    assert not any(each.startswith("refused") for each in server.requests(name))
    assert shown in server.said()
    assert withheld not in server.said()


def test_a_client_certificate_in_a_handshake_without_a_request_would_be_logged(
    version, program, server, tmp_path
):
    """The control of the test above: what would be seen if the decision came too late."""
    me = f"too-late-{version}"
    files = client_certificate(me, tmp_path)
    context = ssl.create_default_context(cadata=authority().pem)
    context.load_cert_chain(files.chain, files.key)
    with connect(context, server.at(f"clients-{version}")):
        pass
    assert soon(lambda: me in server.said())


@pytest.mark.parametrize("program", programs(lambda program: program.name == "apache"))
def test_a_second_handshake_that_a_server_asks_for_is_refused_and_explained(program, tmp_path):
    """Apache renegotiates in TLS 1.2 where only a part of a site wants a client certificate."""
    frontend = Frontend("1.2", {HOST: [pinned()]}, clients_authority(), "/members")
    (tmp_path / "pinned.cer").write_bytes(pinned().certificate)
    roots = tmp_path / "roots.pem"
    roots.write_text(authority().pem)
    files = client_certificate("never-renegotiated", tmp_path)
    with serving(program, it=frontend) as server:
        url = server.at("it").url("").removesuffix("/?")
        identity = (files.chain, files.key)
        with Client(url, tmp_path, roots, client_certificate=identity, trust_env=False) as client:
            client.pin_trusted_certificate_public_key("pinned.cer")
            assert client.get("/?accepted").text == program.name
            with pytest.raises(httpx2.ReadError) as caught:
                client.get("/members/?refused")
            assert "renegotiation in TLS 1.2" in caught.value.__notes__[0]
            with pytest.raises(Unreachable, match=r"renegotiation in TLS 1\.2.*first handshake"):
                client.resource_request("/members/?refused").send()
        assert "never-renegotiated" not in server.said()


# Revocation


def revoked(credential):
    """An OCSP response of the issuer: this certificate is revoked."""
    certificate = x509.load_der_x509_certificate(credential.certificate)
    issuer = x509.load_der_x509_certificate(issuing().certificate)
    now = datetime.now(UTC)
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            certificate,
            issuer,
            SHA1(),  # names the issuer; nothing is signed with it
            ocsp.OCSPCertStatus.REVOKED,
            this_update=now,
            next_update=now + timedelta(days=1),
            revocation_time=now,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, issuer)
    )
    return builder.sign(issuing().key.private, SHA256()).public_bytes(Encoding.DER)


@pytest.mark.skipif(openssl is None, reason="needs openssl (make system-deps)")
@pytest.mark.parametrize("program", programs(lambda program: program.name == "nginx"))
def test_a_stapled_answer_that_the_certificate_is_revoked_is_not_seen(version, program, tmp_path):
    """A limit: Python's ssl cannot ask for one. What is lost has to be denied in the pin file."""
    frontend = Frontend(version, {HOST: [pinned()]}, stapled=revoked(pinned()))
    roots = tmp_path / "roots.pem"
    roots.write_text(authority().pem)
    with serving(program, it=frontend) as server:
        place = server.at("it")
        done = subprocess.run(
            [
                *(openssl, "s_client", "-status", "-servername", HOST, "-CAfile", roots),
                *("-connect", f"127.0.0.1:{place.address[1]}"),
            ],
            input="",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Cert Status: revoked" in done.stdout
        pinner = pinner_for(pinned())
        context = trusting(pinner)
        with connect(context, place) as connection:
            assert get(connection, "accepted") == program.name
        pinner.replace(PinSet([Rule(HOST, [issuing().pin], deny=[pinned().pin])]))
        with pytest.raises(PinMismatch) as caught:
            get(connect(context, place), "refused")
        assert caught.value.reason is Reason.DENIED
        assert server.requests("it") == ["accepted"]
