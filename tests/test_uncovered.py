"""Libraries whose TLS is not Python's `ssl`: named when imported, or refused; and those in between.

They are run in processes of their own, because what is imported stays so. The names of heavy
libraries are tried with modules that hold nothing; lighter ones are there and make connections.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
from scene import HOST, authority, issuing, pinned, unpinned

from keypin.enforcement import uncovered as _uncovered
from keypin.lab import Channel, Credential, Http, Server

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "other-tls-stacks.md").read_text("utf-8")
IN_USE = "k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU="
BACKUP = "afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig="
PIN = f"sha256/{IN_USE}"
INSTALL = f"import keypin\npinner = keypin.install({{'{HOST}': ['{PIN}']}})\n"

NAMED = [
    library
    for library in _uncovered.UNCOVERED
    if not library.refused and library.connection is None
]
REFUSED = [library for library in _uncovered.UNCOVERED if library.refused]


def run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, whose modules come before any that are installed."""
    path = os.pathsep.join([str(folder), str(ROOT / "src"), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-c", dedent(code)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "default", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def told(code: str, folder: Path) -> tuple[str, list[str]]:
    """What a program prints, and the libraries that it is warned of, as often as it is."""
    done = run(code, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, re.findall(r"UncoveredClient: (\S+) is not covered", done.stderr)


def pretend(folder: Path, *modules: str, code: str = "") -> None:
    """Make modules of these names, with the packages that they are in."""
    for module in modules:
        *packages, name = module.split(".")
        place = folder
        for package in packages:
            place = place / package
            place.mkdir(exist_ok=True)
            (place / "__init__.py").touch()
        (place / f"{name}.py").write_text(code)


# Naming


def test_each_library_is_named_once_when_it_is_imported(tmp_path):
    modules = [module for library in NAMED for module in library.modules]
    pretend(tmp_path, *modules)
    imports = "".join(f"import {module}\n" for module in modules)
    reload = "import importlib, sys\n" + "".join(
        f"importlib.reload(sys.modules[{module!r}])\n" for module in modules
    )
    _, named = told(INSTALL + imports + imports + reload, tmp_path)
    assert named == [library.name for library in NAMED]


def test_a_library_that_is_imported_already_is_named_by_install(tmp_path):
    pretend(tmp_path, "pycurl", "PySide6.QtNetwork", "PyQt6.QtCore")
    code = "import pycurl, PySide6.QtNetwork, PyQt6.QtCore\n" + INSTALL + "pinner.install()"
    assert told(code, tmp_path)[1] == ["pycurl", "PySide6"]


def test_the_warning_says_what_does_its_tls_and_what_to_do(tmp_path):
    pretend(tmp_path, "pycurl")
    said = run(INSTALL + "import pycurl", tmp_path).stderr
    assert "from libcurl" in said
    assert "PINNEDPUBLICKEY" in said
    assert "Other TLS stacks" in said


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("{install}\nimport pycurl  # here\n", "import pycurl  # here"),
        ("{install}\nimport importlib\nimportlib.import_module('pycurl')  # here\n", "# here"),
        ("import pycurl\nimport keypin\nkeypin.install({{}})  # here\n", "install({})  # here"),
        (
            "import pycurl\nimport keypin\n"
            "with keypin.Pinner(keypin.PinSet({{}})).installed():  # here\n    pass\n",
            "installed():  # here",
        ),
    ],
    ids=["import", "import_module", "install", "installed"],
)
def test_the_warning_points_to_the_line_of_the_program(tmp_path, program, line):
    pretend(tmp_path, "pycurl")
    (tmp_path / "program.py").write_text(program.format(install=INSTALL))
    said = run("import program", tmp_path).stderr.splitlines()
    assert "program.py" in said[0]
    assert line in said[1]


def test_a_library_that_is_only_looked_for_is_not_named(tmp_path):
    pretend(tmp_path, "pycurl")
    code = """
        from importlib.util import find_spec
        print(find_spec("pycurl").origin.endswith("pycurl.py"))
        print(find_spec("pycurl").loader.get_filename().endswith("pycurl.py"))
    """
    assert told(INSTALL + dedent(code), tmp_path) == ("True\nTrue\n", [])


def test_a_library_that_is_not_there_stays_so(tmp_path):
    code = INSTALL + "import sys\nsys.path.clear()\nimport pycurl\n"
    done = run(code, tmp_path)
    assert "ModuleNotFoundError: No module named 'pycurl'" in done.stderr
    assert "UncoveredClient" not in done.stderr


def test_nothing_is_named_while_no_pins_are_installed(tmp_path):
    pretend(tmp_path, "curl_cffi", "grpc")
    code = "import curl_cffi\n" + INSTALL + "pinner.uninstall()\nimport grpc"
    assert told(code, tmp_path)[1] == ["curl_cffi"]


def test_a_loader_that_was_found_before_uninstalling_does_not_tell_afterwards(tmp_path):
    pretend(tmp_path, "pycurl", code="print('executed')")
    code = """
        from importlib.util import find_spec, module_from_spec
        spec = find_spec("pycurl")
        pinner.uninstall()
        spec.loader.exec_module(module_from_spec(spec))
    """
    assert told(INSTALL + dedent(code), tmp_path) == ("executed\n", [])


def test_a_module_has_the_loader_that_it_has_without_keypin(tmp_path):
    pretend(tmp_path, "pycurl", code="import sys\nprint(type(__loader__), type(__spec__.loader))")
    look = """
        import importlib, inspect, pkgutil, pycurl
        print(type(pycurl.__loader__), type(pycurl.__spec__.loader), pycurl.__file__)
        print(inspect.getsource(pycurl), pkgutil.get_data("pycurl", "pycurl.py"))
        importlib.reload(pycurl)
        print(type(pycurl.__loader__), type(pycurl.__spec__.loader))
    """
    plain, _ = told(look, tmp_path)
    assert told(INSTALL + dedent(look), tmp_path) == (plain, ["pycurl"])
    assert "SourceFileLoader" in plain


def test_a_module_may_be_imported_lazily(tmp_path):
    pretend(tmp_path, "pycurl", code="VALUE = 42")
    code = """
        import importlib.util, sys
        spec = importlib.util.find_spec("pycurl")
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules["pycurl"] = pycurl = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(pycurl)
        print("not yet", flush=True)
        print(pycurl.VALUE)
    """
    assert told(INSTALL + dedent(code), tmp_path) == ("not yet\n42\n", ["pycurl"])


def test_finders_of_others_are_asked_as_before(tmp_path):
    code = """
        import importlib.abc, importlib.machinery, sys
        class Mine(importlib.abc.MetaPathFinder, importlib.abc.Loader):
            def find_spec(self, name, path, target=None):
                if name == "pycurl":
                    return importlib.machinery.ModuleSpec(name, self)
            def exec_module(self, module):
                module.VALUE = 42
        sys.meta_path.insert(1, Mine())
        import pycurl
        print(pycurl.VALUE, type(pycurl.__loader__).__name__)
    """
    assert told(INSTALL + dedent(code), tmp_path) == ("42 Mine\n", ["pycurl"])


def test_imports_of_other_modules_are_let_by():
    for name in ("json", "keypin", "grpc_tools", "twisted", "twisted.internet", "PySide6.QtCore"):
        assert _uncovered.Finder().find_spec(name) is None


def test_the_finder_is_there_as_long_as_pins_are_installed(tmp_path):
    code = """
        import sys, threading
        before = sys.meta_path.copy()
        pinner = keypin.Pinner(keypin.PinSet({}))
        def often():
            for _ in range(300):
                with pinner.installed():
                    assert [type(finder).__name__ for finder in sys.meta_path].count("Finder") == 1
        threads = [threading.Thread(target=often) for _ in range(4)]
        threading.excepthook = lambda error: print(error)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sys.meta_path == before
    """
    assert told("import keypin\n" + dedent(code), tmp_path) == ("", [])


# The warning as an error

STRICT = "import keypin, warnings\nwarnings.simplefilter('error', keypin.UncoveredClient)\n"


def test_as_an_error_it_refuses_the_import_as_if_the_library_were_missing(tmp_path):
    pretend(tmp_path, "pycurl", code="print('executed')")
    code = """
        import sys
        for _ in range(2):
            try:
                import pycurl
            except ImportError as error:
                print(type(error).__name__, "pycurl" in sys.modules)
    """
    done = run(STRICT + INSTALL + dedent(code), tmp_path)
    assert done.stdout == "UncoveredClient False\n" * 2, done.stderr


def test_as_an_error_it_refuses_to_install_beside_the_library(tmp_path):
    pretend(tmp_path, "pycurl")
    code = """
        import pycurl, ssl, sys
        pinner = keypin.Pinner(keypin.PinSet({}))
        pinner.create_context()  # from the first one on, load_cert_chain is keypin's
        methods, finders = vars(ssl.SSLContext).copy(), sys.meta_path.copy()
        for _ in range(2):
            try:
                pinner.install()
            except keypin.UncoveredClient as error:
                print(vars(ssl.SSLContext) == methods, sys.meta_path == finders)
        warnings.simplefilter("ignore", keypin.UncoveredClient)
        pinner.install()
        pinner.uninstall()
    """
    done = run(STRICT + dedent(code), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True True\n" * 2


def test_a_library_that_is_there_for_its_certificates_is_not_named(tmp_path):
    """Its classes for X.509 are used by many who have nothing to do with its TLS."""
    code = """
        import OpenSSL, OpenSSL.crypto
        from OpenSSL import SSL
        OpenSSL.crypto.load_certificate(OpenSSL.crypto.FILETYPE_ASN1, CERTIFICATE)
        SSL.Context(SSL.TLS_CLIENT_METHOD)
        print("no warning")
        try:
            SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
        except keypin.UncoveredClient as error:
            print(error)
        pinner.uninstall()
        SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    """
    certificate = f"CERTIFICATE = {pinned().certificate!r}\n"
    for program in (
        STRICT + INSTALL + certificate + dedent(code),
        STRICT + certificate + dedent(code).replace("print", INSTALL + "print", 1),
    ):
        done = run(program, tmp_path)
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert first == "no warning"
        assert second.startswith("pyOpenSSL is not covered by keypin")


# The libraries themselves. A server of the same authority, with another key, is what they reach.

REACHING = {
    "pycurl": """
        import pycurl
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, f"https://localhost:{PORT}/")
        curl.setopt(pycurl.CAINFO, "ca.pem")
        curl.setopt(pycurl.WRITEFUNCTION, lambda data: None)
        curl.perform()
    """,
    "curl_cffi": """
        from curl_cffi import requests
        requests.get(f"https://localhost:{PORT}/", verify="ca.pem")
    """,
    "pyOpenSSL": """
        import socket
        from OpenSSL import SSL
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations("ca.pem")
        context.set_verify(SSL.VERIFY_PEER)
        connection = SSL.Connection(context, socket.create_connection(("localhost", PORT)))
        connection.set_tlsext_host_name(b"localhost")
        connection.set_connect_state()
        connection.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        connection.recv(1000)
    """,
    "Twisted": """
        from twisted.internet import ssl, task
        from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
        authority = ssl.Certificate.loadPEM(open("ca.pem").read())
        policy = BrowserLikePolicyForHTTPS(ssl.trustRootFromCertificates([authority]))
        task.react(
            lambda reactor: Agent(reactor, policy).request(b"GET", b"https://localhost:%d" % PORT)
        )
    """,
    "grpcio": """
        import grpc
        credentials = grpc.ssl_channel_credentials(open("ca.pem", "rb").read())
        with grpc.secure_channel(f"localhost:{PORT}", credentials) as channel:
            channel.unary_unary("/example.Service/Ping")(b"", timeout=10)
    """,
}


class Rpc:
    """HTTP/2 (RFC 9113) as far as an answer to one gRPC call takes it."""

    HEADERS, SETTINGS, END_STREAM, END_HEADERS = 1, 4, 0x1, 0x4

    def __call__(self, channel: Channel) -> None:
        reader = channel.reader()
        channel.sendall(self.frame(self.SETTINGS, 0, 0, b""))
        if not reader.read(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")):
            return
        while head := reader.read(9):
            size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
            reader.read(size)
            if kind in (0, self.HEADERS) and flags & self.END_STREAM:
                stream = int.from_bytes(head[5:])
                # HPACK (RFC 7541): 200, content-type; an empty message; grpc-status
                answer = b"\x88\x5f\x10application/grpc"
                channel.sendall(self.frame(self.HEADERS, self.END_HEADERS, stream, answer))
                channel.sendall(self.frame(0, 0, stream, bytes(5)))
                status = b"\x40\x0bgrpc-status\x010"
                ends = self.END_HEADERS | self.END_STREAM
                channel.sendall(self.frame(self.HEADERS, ends, stream, status))

    @staticmethod
    def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
        return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content


def server_for(code: str, credential: Credential) -> Server:
    if "grpc" in code:
        return Server(credential, application=Rpc(), alpn=["h2"])
    return Server(credential, application=Http())


def write_certificates(folder: Path) -> None:
    (folder / "ca.pem").write_text(authority().pem)
    alone = pinned().with_chain(pinned().certificate)
    (folder / "myCertificate.pem").write_bytes(alone.chain_pem)


@pytest.mark.parametrize("name", REACHING)
def test_a_library_of_the_table_reaches_a_server_with_another_key_and_is_named(name, tmp_path):
    write_certificates(tmp_path)
    code = INSTALL.replace(PIN, str(pinned().pin)) + dedent(REACHING[name])
    with server_for(code, unpinned()) as server:
        done = run(code.replace("PORT", str(server.port)), tmp_path)
        assert done.returncode == 0, done.stderr
        server.settle()
        assert server.application_bytes > 0
    assert f"UncoveredClient: {name} is not covered" in done.stderr


# The page of the documentation that says how they are pinned

# not in keypin[test]: too large, or not to be had without a compiler
BY_HAND = {"M2Crypto", "PySide6", "tls_client", "awscrt", "niquests"}


def blocks():
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        imported = re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE)
        library = next((name for name in imported if name in LIBRARIES), None)
        if library is not None and (library not in BY_HAND or find_spec(library) is not None):
            yield pytest.param(block, id=library)


LIBRARIES = {module.partition(".")[0] for library in NAMED for module in library.modules} | BY_HAND


@pytest.mark.parametrize("block", list(blocks()))
def test_its_own_settings_reach_the_pinned_server_and_no_other(block, tmp_path):
    write_certificates(tmp_path)
    (tmp_path / "pins.toml").write_text(
        f'schema = 1\nversion = 1\n[[host]]\nname = "{HOST}"\npins = ["{pinned().pin}"]\n'
    )
    backup = issuing().issue(HOST)
    code = block.replace("api.example.com", HOST)
    for text, credential in ((IN_USE, pinned()), (BACKUP, backup)):
        code = code.replace(text, str(credential.pin).removeprefix("sha256/"))
    credentials = [pinned(), unpinned()]
    if BACKUP in block:
        credentials.append(backup)
    for credential in credentials:
        with server_for(code, credential) as server:
            at_port = code.replace(f"//{HOST}", f"//{HOST}:{server.port}")
            at_port = re.sub(r"\b443\b", str(server.port), at_port)
            done = run(at_port, tmp_path, SSL_CERT_FILE="ca.pem", REQUESTS_CA_BUNDLE="ca.pem")
            server.settle()
            assert server.connections
            if credential is unpinned():
                assert done.returncode != 0
                assert server.application_bytes == 0
            else:
                assert done.returncode == 0, done.stderr
                assert server.application_bytes > 0


def test_a_certificate_that_grpcio_trusts_alone_excludes_others_of_its_authority(tmp_path):
    write_certificates(tmp_path)
    code = dedent(REACHING["grpcio"]).replace("ca.pem", "myCertificate.pem")
    for credential in (pinned(), unpinned()):
        with server_for(code, credential) as server:
            run(code.replace("PORT", str(server.port)), tmp_path)
            server.settle()
            assert (server.application_bytes > 0) == (credential is pinned())


def test_the_page_has_the_table_of_the_program():
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    for library in _uncovered.UNCOVERED:
        (row,) = (row for row in rows if re.search(rf"\b{re.escape(library.name)}\b", row[0]))
        assert row[2] == library.pins
        assert ("refused" in row[3]) == library.refused


# Those that keypin does reach, though they have ways of their own


SOCKETS = """
    def talk(port):
        context = ssl.create_default_context(cafile="ca.pem")
        plain = socket.create_connection(("localhost", port))
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return connection.recv(100)
"""
STREAMS = """
    import asyncio, ssl
    def talk(port):
        async def main():
            context = ssl.create_default_context(cafile="ca.pem")
            reader, writer = await open_streams(port, context)
            writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
            answer = await reader.read(100)
            writer.close()
            return answer
        with asyncio.Runner(loop_factory=aiofastnet.loop_factory()) as runner:
            return runner.run(main())
"""
COVERED = {
    "eventlet": ("import eventlet\nfrom eventlet.green import socket, ssl", INSTALL, SOCKETS),
    "eventlet, patched before": (
        "import eventlet\neventlet.monkey_patch()\nimport socket, ssl",
        INSTALL,
        SOCKETS,
    ),
    "eventlet, patched after": (
        INSTALL,
        "import eventlet\neventlet.monkey_patch()\nimport socket, ssl",
        SOCKETS,
    ),
    "aiofastnet": (
        "import aiofastnet",
        INSTALL,
        STREAMS,
        """
        async def open_streams(port, context):
            return await asyncio.open_connection("localhost", port, ssl=context)
        """,
    ),
    "aiofastnet, TLS started late": (
        "import aiofastnet",
        INSTALL,
        STREAMS,
        """
        async def open_streams(port, context):
            reader, writer = await asyncio.open_connection("localhost", port)
            await writer.start_tls(context, server_hostname="localhost")
            return reader, writer
        """,
    ),
}
TRY_BOTH = """
    for port in (PORTS):
        try:
            print(talk(port)[:8])
        except Exception as error:
            print(type(keypin.find_error(error)).__name__)
"""


@pytest.mark.parametrize("name", COVERED)
def test_a_library_that_is_not_in_the_table_is_covered(name, version, tmp_path):
    write_certificates(tmp_path)
    code = "\n".join(map(dedent, (*COVERED[name], TRY_BOTH))).replace(PIN, str(pinned().pin))
    with (
        Server(pinned(), tls=(version,)) as right,
        Server(unpinned(), tls=(version,)) as wrong,
    ):
        code = code.replace("PORTS", f"{right.port}, {wrong.port}")
        # eventlet cannot be imported beside trio and aioquic, if it finds dnspython
        done = run(code, tmp_path, EVENTLET_NO_GREENDNS="yes")
        assert done.stdout == "b'HTTP/1.1'\nPinMismatch\n", done.stderr
        right.settle()
        wrong.settle()
        assert right.application_bytes > 0
        assert len(wrong.connections) == 1
        assert wrong.application_bytes == 0
    assert f"UncoveredClient: {name.split(',')[0]}" not in done.stderr


# QUIC, which is refused

QUIC = """
    import asyncio, json
    import keypin
    {first}
    from keypin import PinSet, Rule
    from quic_scene import QuicServer, connect, exchange, unconnected
    from scene import HOST, authority, pinned, pins_for

    LIBRARY, told, results = {library!r}, [], {{}}

    async def request(server, name=HOST):
        async with connect(LIBRARY, server, authority(), name) as connection:
            await exchange(connection, b"request")

    async def named_late(server):
        connection = unconnected(LIBRARY, None)
        connection.configuration.server_name = HOST
        connection.connect(("127.0.0.1", server.port), now=0.0)

    async def nameless(server):
        unconnected(LIBRARY, None).connect(("127.0.0.1", server.port), now=0.0)

    async def opened_before(server):
        async with connect(LIBRARY, server, authority(), HOST) as connection:
            await exchange(connection, b"before")
            with pinner_of(pins_for(pinned())).installed():
                await exchange(connection, b"after")

    async def datagram(server):
        connection = unconnected(LIBRARY, HOST)
        with pinner_of(pins_for(pinned())).installed():
            connection.send_datagram_frame(b"datagram")

    def pinner_of(pins):
        return keypin.Pinner(pins, on_verdict=told.append)

    def attempt(name, work):
        told.clear()
        with QuicServer(LIBRARY, pinned()) as server:
            try:
                asyncio.run(work(server))
                refusal = None
            except Exception as error:
                found = keypin.find_error(error)
                if found is None:
                    raise
                refusal = [type(found).__name__, found.host, found.verdict.reason.name]
        heard = [verdict.reason.name for verdict in told]
        results[name] = [refusal, server.datagrams > 0, server.received.decode(), heard]

    attempt("not pinned", request)
    with pinner_of(pins_for(pinned())).installed():
        attempt("pinned", request)
        attempt("another spelling", lambda server: request(server, "LOCALHOST."))
        attempt("another host", lambda server: request(server, "127.0.0.1"))
        attempt("named late", named_late)
        attempt("nameless", nameless)
    attempt("opened before", opened_before)
    attempt("datagram", datagram)
    with pinner_of(pins_for(pinned(), mode="report")).installed():
        attempt("report", request)
    with pinner_of(PinSet([], unlisted="refuse")).installed():
        attempt("unlisted", request)
    with pinner_of(PinSet([Rule(HOST, exclude=True)])).installed():
        attempt("excluded", request)
    attempt("uninstalled", request)
    print(json.dumps(results))
"""
SENT = [None, True, "request", []]
REFUSED_AT_ONCE = [["UnverifiedConnection", HOST, "UNGUARDED"], False, "", ["UNGUARDED"]]
OUTCOMES = {
    "not pinned": SENT,
    "pinned": REFUSED_AT_ONCE,
    "another spelling": REFUSED_AT_ONCE,
    "another host": SENT,
    "named late": REFUSED_AT_ONCE,
    "nameless": [["NoServerName", None, "NO_SERVER_NAME"], False, "", ["NO_SERVER_NAME"]],
    "opened before": [["UnverifiedConnection", HOST, "UNGUARDED"], True, "before", ["UNGUARDED"]],
    "datagram": REFUSED_AT_ONCE,
    "report": [None, True, "request", ["UNGUARDED"]],
    "unlisted": [["PinMismatch", HOST, "UNLISTED_REFUSED"], False, "", ["UNLISTED_REFUSED"]],
    "excluded": SENT,
    "uninstalled": SENT,
}
FIRST = {
    "imported before": "import {library}.quic.connection",
    "imported after": "keypin.install({})",
}


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("library", [library.name for library in REFUSED])
def test_no_quic_connection_is_made_to_a_pinned_host(library, first, tmp_path):
    before = FIRST[first].replace("{library}", library)
    done = run(dedent(QUIC).format(library=library, first=before), tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == OUTCOMES


@pytest.mark.parametrize("library", REFUSED, ids=lambda library: library.name)
def test_quic_of_a_kind_that_is_not_known_is_not_imported(library, tmp_path):
    (module,) = library.modules
    pretend(tmp_path, module, code="class QuicConnection:\n    pass\n")
    code = f"""
        try:
            import {module}
        except ImportError as error:
            print(type(error.__cause__).__name__, error.name)
        pinner.uninstall()
        import {module}
        try:
            pinner.install()
        except keypin.ProtectionError as error:
            print(error)
        try:
            pinner.uninstall()
        except keypin.ProtectionError:
            print("not installed")
    """
    said, _ = told(INSTALL + dedent(code), tmp_path)
    assert said.splitlines()[0] == f"ProtectionError {module}"
    assert f"{library.name} is not as keypin knows it" in said
    assert said.splitlines()[-1] == "not installed"


def test_quic_is_left_as_it_was_when_no_pins_are_installed(tmp_path):
    code = """
        import keypin
        import {library}.quic.connection as module
        methods = vars(module.QuicConnection).copy()
        pinner = keypin.install({{}})
        held = vars(module.QuicConnection).copy()
        pinner.install()
        print(held != methods, held == vars(module.QuicConnection))
        pinner.uninstall()
        pinner.uninstall()
        print(methods == vars(module.QuicConnection))
    """
    for library in REFUSED:
        said, _ = told(dedent(code).format(library=library.name), tmp_path)
        assert said == "True True\nTrue\n"


def test_install_waits_for_quic_that_another_thread_is_importing(tmp_path):
    code = """
        import threading
        started, go_on = threading.Event(), threading.Event()
        import builtins
        builtins.started, builtins.go_on = started, go_on
        importing = threading.Thread(target=lambda: __import__("qh3.quic.connection"))
        importing.start()
        started.wait()
        import keypin
        threading.Timer(0.2, go_on.set).start()
        pinner = keypin.install({})
        import qh3.quic.connection as module
        print(hasattr(module.QuicConnection.connect, "__wrapped__"))
    """
    methods = "".join(f"    def {name}(self): pass\n" for name in _uncovered.QUIC_METHODS)
    pretend(
        tmp_path,
        "qh3.quic.connection",
        code=f"started.set()\ngo_on.wait()\nclass QuicConnection:\n{methods}",
    )
    assert told(code, tmp_path) == ("True\n", [])
