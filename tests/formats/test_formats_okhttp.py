"""OkHttp: the code that is written, run with the real library; and code that is read."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from scene import HOST, NAMES, authority, issuing, pinned, unpinned
from some_pins import FIRST, SECOND, THIRD, host, need_parser, pin_file

from keypin import PinSet
from keypin.formats import export_to, import_from
from keypin.lab import Server

JARS = [Path(f"/usr/share/java/{name}.jar") for name in ("okhttp", "okio")]
KOTLIN_JAR = Path("/usr/share/java/kotlin-stdlib.jar")
needs_okhttp = pytest.mark.skipif(
    not (shutil.which("javac") and all(jar.exists() for jar in JARS)),
    reason="needs javac and OkHttp (make system-deps)",
)
needs_kotlin = pytest.mark.skipif(
    not (shutil.which("kotlinc") and KOTLIN_JAR.exists()),
    reason="needs kotlinc (make system-deps)",
)
needs_both = [needs_okhttp, needs_kotlin]

# Reads lines: "get URL" makes a request, "check HOST FILE" asks the pinner about a certificate.
MAIN = """
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.*;
import java.util.*;
import javax.net.ssl.*;
import okhttp3.*;

public class Main {
    public static void main(String[] arguments) throws Exception {
        CertificatePinner pinner = (CertificatePinner)
            Class.forName("CertificatePins").getField(arguments[0]).get(null);
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        store.setCertificateEntry("ca", read(arguments[1]));
        TrustManagerFactory factory =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        OkHttpClient client = new OkHttpClient.Builder()
            .certificatePinner(pinner)
            .sslSocketFactory(
                context.getSocketFactory(), (X509TrustManager) factory.getTrustManagers()[0])
            .build();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ");
            try {
                if (words[0].equals("get")) {
                    client.newCall(new Request.Builder().url(words[1]).build()).execute().close();
                } else {
                    pinner.check(
                        words[1], Collections.<java.security.cert.Certificate>singletonList(
                            read(words[2])));
                }
                System.out.println("ok");
            } catch (SSLPeerUnverifiedException error) {
                System.out.println("refused");
            }
        }
        System.exit(0);
    }

    static java.security.cert.Certificate read(String file) throws Exception {
        try (InputStream in = Files.newInputStream(Paths.get(file))) {
            return CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }
}
"""


def run(*command: object, **more: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "JAVA_TOOL_OPTIONS": ""}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        **more,
    )


def classpath(*more: Path) -> str:
    return os.pathsep.join(map(str, [*JARS, KOTLIN_JAR, *more]))


@pytest.fixture(scope="session")
def main_class(tmp_path_factory):
    folder = tmp_path_factory.mktemp("main")
    (folder / "Main.java").write_text(MAIN)
    done = run("javac", "-cp", classpath(), "-d", folder, folder / "Main.java")
    assert done.returncode == 0, done.stderr
    return folder


class Program:
    """The code that was exported, compiled, and a program around it."""

    def __init__(self, folder: Path, main_class: Path, file, *, kotlin: bool = False) -> None:
        name = "okhttp" if kotlin else "okhttp-java"
        [(source, content)] = export_to(name, file).files.items()
        (folder / source).write_bytes(content)
        self.folder = folder
        self.main_class = main_class
        self.field = "certificatePinner" if kotlin else "CERTIFICATE_PINNER"
        self.classes = folder / "classes.jar" if kotlin else folder
        compiler = ["kotlinc", "-nowarn"] if kotlin else ["javac", "-Xlint:all", "-Werror"]
        done = run(*compiler, "-cp", classpath(), "-d", self.classes, folder / source)
        assert done.returncode == 0, done.stdout + done.stderr

    def answers(self, *lines: str) -> list[str]:
        done = self.start(*lines)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def start(self, *lines: str) -> subprocess.CompletedProcess[str]:
        ca = self.folder / "ca.der"
        ca.write_bytes(authority().certificate)
        where = classpath(self.main_class, self.classes)
        return run("java", "-cp", where, "Main", self.field, ca, input="\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "kotlin",
    [
        pytest.param(False, marks=needs_okhttp, id="java"),
        pytest.param(True, marks=needs_both, id="kotlin"),
    ],
)
def test_the_code_reaches_a_pinned_server_and_sends_nothing_to_another(
    tmp_path, main_class, kotlin
):
    file = pin_file(host(HOST, pinned().pin, FIRST), host("127.0.0.1", issuing().pin))
    program = Program(tmp_path, main_class, file, kotlin=kotlin)
    with Server(pinned()) as right, Server(unpinned()) as wrong:
        other_ca = authority().issue(*NAMES)
        with Server(other_ca) as other:
            urls = [right.url_for(HOST), wrong.url_for(HOST), wrong.url, other.url]
            assert program.answers(*(f"get {url}/" for url in urls)) == [
                "ok",
                "refused",
                "ok",  # the intermediate is pinned for the address
                "refused",
            ]
            assert [len(server.requests) for server in (right, wrong, other)] == [1, 1, 0]


@needs_okhttp
def test_okhttp_decides_on_every_host_as_the_report_is_made(tmp_path, main_class):
    """Patterns, their union, one label: the library's own answer against ours."""
    need_parser("okhttp")
    keys = [pinned(), unpinned(), issuing().issue(*NAMES)]
    first, second, third = (key.pin for key in keys)
    file = pin_file(
        host("api.example.com", first),
        host("*.example.com", second),
        host("*.a.example.com", third),
        host("example.com", third),
        host("[::1]", first),
    )
    meaning = import_from("okhttp-java", export_to("okhttp-java", file).files).pins.pin_set()
    for number, key in enumerate(keys):
        (tmp_path / f"{number}.der").write_bytes(key.certificate)
    names = ["", "api.", "a.", "b.", "b.a.", "c.b.a.", "b.api."]
    hosts = [*(f"{name}example.com{dot}" for name in names for dot in ("", ".")), "::1"]
    hosts.append("example.org")
    questions = [(name, number) for name in hosts for number in range(3)]
    lines = (f"check {name} {tmp_path}/{number}.der" for name, number in questions)
    answers = Program(tmp_path, main_class, file).answers(*lines)
    expected = [
        "ok" if meaning.check(name, [keys[number].certificate]).matched else "refused"
        for name, number in questions
    ]
    assert answers == [
        "ok" if meaning.rule_for(name) is None else said
        for (name, _), said in zip(questions, expected, strict=True)
    ]
    assert set(answers) == {"ok", "refused"}


@needs_okhttp
def test_a_version_that_does_not_know_two_asterisks_does_not_start(tmp_path, main_class):
    """Debian's, 3.13, would pin nothing: the control shows it without the check."""
    program = Program(tmp_path, main_class, pin_file(host(f"**.{HOST}.example", pinned().pin)))
    done = program.start()
    assert done.returncode != 0
    assert 'does not know "**."' in done.stderr
    source = tmp_path / "CertificatePins.java"
    before, _, rest = source.read_text().partition("    static {")
    source.write_text(before + rest.partition("\n    }\n\n")[2])
    assert run("javac", "-cp", classpath(), "-d", tmp_path, source).returncode == 0
    (tmp_path / "wrong.der").write_bytes(unpinned().certificate)
    question = f"check a.{HOST}.example {tmp_path}/wrong.der"
    assert program.answers(question) == ["ok"]


@needs_okhttp
def test_the_name_with_a_dot_at_its_end_is_pinned_too(tmp_path, main_class):
    """To OkHttp it is another name; the server is the same."""
    program = Program(tmp_path, main_class, pin_file(host("api.example.com", pinned().pin)))
    for name, credential in (("right", pinned()), ("wrong", unpinned())):
        (tmp_path / f"{name}.der").write_bytes(credential.certificate)
    questions = [f"check api.example.com. {tmp_path}/{name}.der" for name in ("right", "wrong")]
    assert program.answers(*questions) == ["ok", "refused"]


@needs_okhttp
def test_a_thousand_hosts_are_not_too_many_for_the_compiler(tmp_path, main_class):
    hosts = [host(f"h{number}.example.com", pinned().pin) for number in range(1000)]
    program = Program(tmp_path, main_class, pin_file(*hosts))
    (tmp_path / "wrong.der").write_bytes(unpinned().certificate)
    assert program.answers(f"check h999.example.com {tmp_path}/wrong.der") == ["refused"]


def test_a_wider_pattern_adds_its_pins_which_is_reported():
    file = pin_file(host("**.example.com", FIRST), host("pay.example.com", SECOND))
    [found] = [each for each in export_to("okhttp", file).losses if each.direction == "less-safe"]
    assert (found.name, found.host) == ("other-pins-accepted", "pay.example.com")
    assert str(FIRST) in found.text


def test_a_pattern_that_meets_another_in_one_name_is_read_without_loss():
    """`*.a.example` and `**.b.a.example` both hold for b.a.example."""
    need_parser("okhttp")
    code = f"""CertificatePinner.Builder()
        .add("*.a.example", "{FIRST}").add("**.b.a.example", "{SECOND}").build()"""
    pins = import_from("okhttp", {"x.kt": code.encode()}).pins.pin_set()
    assert set(pins.rule_for("b.a.example").pins) == {FIRST, SECOND}
    assert pins.rule_for("c.b.a.example").pins == (SECOND,)
    assert pins.rule_for("c.a.example").pins == (FIRST,)


def read(code: str) -> PinSet:
    return import_from("okhttp", {"Network.kt": code.encode()}).pins.pin_set()


def test_code_as_people_write_it_is_read():
    need_parser("okhttp")
    code = f"""
    package com.example
    // .add("commented.example", "{THIRD}")
    /* CertificatePinner.Builder().add("old.example", "{THIRD}") */
    val headers = Headers.Builder().add("a", "b").build()
    val url = "https://example.com/" // not a comment inside the string
    val client = OkHttpClient.Builder().certificatePinner(
        CertificatePinner
            .Builder()
            .add("Example.com", "{FIRST}")   // active
            .add("*.example.com", "{FIRST}", "{SECOND}" /* backup */)
            .build()
    ).build();
    """
    pins = read(code)
    assert {rule.host: set(rule.pins) for rule in pins.rules} == {
        "example.com": {FIRST},
        "*.example.com": {FIRST, SECOND},
    }


def test_pins_are_written_as_okhttp_has_them():
    [content] = export_to("okhttp", pin_file(host("*.example.com"))).files.values()
    assert f'"*.example.com",\n            "{FIRST}",\n            "{SECOND}"' in content.decode()
