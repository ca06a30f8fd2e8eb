"""Kotlin and Java as people write it: what a file itself says is read, anything else refused."""

from __future__ import annotations

import sys

import pytest
from some_pins import FIRST, SECOND, THIRD, host, pin_file

from keypin.formats import FormatError, export_to, import_from

pytest.importorskip("tree_sitter", reason="no wheel of tree-sitter for this Python")

A, B, C = FIRST, SECOND, THIRD
ONE = {"api.example.com": {A}}
BOTH = {"api.example.com": {A, B}}


def read(code: str, file: str = "Network.kt") -> dict[str, set[object]]:
    pins = import_from("okhttp", {file: code.encode()}).pins
    return {entry.name: {each.pin for each in entry.pins} for entry in pins.hosts}


def losses(code: str) -> list[tuple[str, str | None]]:
    found = import_from("okhttp", {"Network.kt": code.encode()}).losses
    return [(each.name, each.host) for each in found]


KOTLIN = {
    "a constant at the top of the file": (
        f"""private const val HOST = "api.example.com"
        val pinner = CertificatePinner.Builder().add(HOST, "{A}").build()""",
        ONE,
    ),
    "a constant below its use": (
        f"""class Net {{
            val pinner = CertificatePinner.Builder().add(HOST, PIN).build()
            companion object {{ const val HOST = "api.example.com"; const val PIN = "{A}" }}
        }}""",
        ONE,
    ),
    "constants of an object, by its name": (
        f"""object Config {{ const val HOST = "api.example.com"
            object Pins {{ const val ACTIVE = "{A}" }} }}
        class Net {{ fun pinner() = CertificatePinner.Builder()
            .add(Config.HOST, Config.Pins.ACTIVE).build() }}""",
        ONE,
    ),
    "a companion's constants by the name of the class": (
        f"""class Net {{ companion object {{ val HOST = "api.example.com" }}
            fun pinner() = CertificatePinner.Builder().add(Net.HOST, "{A}")
                .add(Net.Companion.HOST, "{B}").add(Companion.HOST, "{B}").build() }}""",
        BOTH,
    ),
    "a local val": (
        f"""fun pinner(): CertificatePinner {{
            val host = "api.example.com"
            return CertificatePinner.Builder().add(host, "{A}").build() }}""",
        ONE,
    ),
    "a private property, by this": (
        f"""class Net {{ private val host = "api.example.com"
            fun pinner() = CertificatePinner.Builder().add(this.host, "{A}").build() }}""",
        ONE,
    ),
    "a private var that is never changed": (
        f"""private var host = "api.example.com"
        val pinner = CertificatePinner.Builder().add(host, "{A}").build()""",
        ONE,
    ),
    "trailing commas": (
        f"""val pinner = CertificatePinner.Builder()
            .add("api.example.com", "{A}", "{B}",)
            .build()""",
        BOTH,
    ),
    "strings joined": (
        f"""const val DOMAIN = "example" + "." + "com"
        val pinner = CertificatePinner.Builder()
            .add("api." + DOMAIN, "sha256/" + "{str(A)[7:]}").build()""",
        ONE,
    ),
    "templates": (
        f"""const val DOMAIN = "example.com"
        object Config {{ val PIN = "{str(A)[7:]}" }}
        val p = CertificatePinner.Builder().add("api.$DOMAIN", "sha256/${{Config.PIN}}").build()""",
        ONE,
    ),
    "escapes": (
        f"""val p = CertificatePinner.Builder()
            .add("\\u0061pi.example.com", "{A}").build()""",
        ONE,
    ),
    "a raw string": (
        f'val p = CertificatePinner.Builder().add("""api.example.com""", """{A}""").build()',
        ONE,
    ),
    "an import under another name": (
        f"""import okhttp3.CertificatePinner as OkPinner
        class CertificatePinner {{
            val pinner = OkPinner.Builder().add("api.example.com", "{A}").build() }}""",
        ONE,
    ),
    "a class of its own with the name of the one that is imported": (
        f"""import okhttp3.CertificatePinner
        class CertificatePinner {{
            val pinner = CertificatePinner.Builder().add("api.example.com", "{A}").build() }}""",
        ONE,
    ),
    "the builder's class imported": (
        f"""import okhttp3.CertificatePinner.Builder as PinnerBuilder
        val pinner = PinnerBuilder().add("api.example.com", "{A}").build()""",
        ONE,
    ),
    "a typealias": (
        f"""typealias Pinner = okhttp3.CertificatePinner
        val pinner = Pinner.Builder().add("api.example.com", "{A}").build()""",
        ONE,
    ),
    "the full name": (
        f"""val p = okhttp3.CertificatePinner.Builder().add("api.example.com", "{A}").build()""",
        ONE,
    ),
    "named arguments": (
        f"""val p = CertificatePinner.Builder()
            .add(pins = arrayOf("{A}", "{B}"), pattern = "api.example.com").build()""",
        BOTH,
    ),
    "apply": (
        f"""val p = CertificatePinner.Builder().apply {{
            add("api.example.com", "{A}")
            this.add("api.example.com", "{B}")
        }}.build()""",
        BOTH,
    ),
    "also, run, let and with": (
        f"""val a = CertificatePinner.Builder().also {{ it.add("api.example.com", "{A}") }}.build()
        val b = CertificatePinner.Builder().run {{ add("api.example.com", "{A}"); build() }}
        val c = CertificatePinner.Builder().let {{ b -> b.add("api.example.com", "{A}").build() }}
        val d = with(CertificatePinner.Builder()) {{ add("api.example.com", "{A}"); build() }}""",
        ONE,
    ),
    "a spread array": (
        f"""val p = CertificatePinner.Builder()
            .add("api.example.com", *arrayOf("{A}", "{B}")).build()""",
        BOTH,
    ),
    "a spread list": (
        f"""private val PINS = listOf(
            "{A}", // active
            "{B}",
        )
        val p = CertificatePinner.Builder().add("api.example.com", *PINS.toTypedArray()).build()""",
        BOTH,
    ),
    "lists joined": (
        f"""val OURS = listOf("{A}"); val ALL = OURS + listOf("{B}")
        val p = CertificatePinner.Builder().add("api.example.com", *ALL.toTypedArray()).build()""",
        BOTH,
    ),
    "a builder in a variable": (
        f"""fun pinner(): CertificatePinner {{
            val builder = CertificatePinner.Builder()
            builder.add("api.example.com", "{A}")
            builder.add("api.example.com", "{B}")
            return builder.build() }}""",
        BOTH,
    ),
    "a builder in a variable, assigned again": (
        f"""fun pinner(): CertificatePinner {{
            var builder = CertificatePinner.Builder().add("api.example.com", "{A}")
            builder = builder.add("api.example.com", "{B}")
            return builder.build() }}""",
        BOTH,
    ),
    "a loop over a list": (
        f"""val PINS = setOf("{A}", "{B}")
        fun pinner(): CertificatePinner {{
            val builder = CertificatePinner.Builder()
            for (pin in PINS) {{ builder.add("api.example.com", pin) }}
            return builder.build() }}""",
        BOTH,
    ),
    "forEach in apply": (
        f"""val PINS = listOf("{A}", "{B}")
        val p = CertificatePinner.Builder().apply {{
            PINS.forEach {{ add("api.example.com", it) }} }}.build()""",
        BOTH,
    ),
    "forEach over a map": (
        f"""private val PINS: Map<String, List<String>> = mapOf(
            "api.example.com" to listOf("{A}", "{B}"), "b.example" to listOf("{C}"))
        fun pinner(): CertificatePinner {{
            val builder = CertificatePinner.Builder()
            PINS.forEach {{ (host, pins) -> pins.forEach {{ pin -> builder.add(host, pin) }} }}
            return builder.build() }}""",
        {**BOTH, "b.example": {C}},
    ),
    "a loop over a map": (
        f"""fun pinner() = CertificatePinner.Builder().apply {{
            for ((host, pin) in mapOf("api.example.com" to "{A}")) add(host, pin)
            for (entry in mapOf("api.example.com" to "{B}")) add(entry.key, entry.value)
        }}.build()""",
        BOTH,
    ),
    "a host out of an address": (
        f"""const val URL = "https://api.example.com/"
        val p = CertificatePinner.Builder()
            .add(URL.removePrefix("https://").removeSuffix("/"), "{A}").build()""",
        ONE,
    ),
    "the host of an address": (
        f"""private const val BASE = "https://API.example.com:8443/v1/"
        val p = CertificatePinner.Builder()
            .add(Uri.parse(BASE).host!!, "{A}").add(BASE.toHttpUrl().host, "{A}")
            .add(URI(BASE).host, "{A}").add(URL(BASE).host, "{B}").build()""",
        BOTH,
    ),
    "data of a class of the file": (
        f"""data class Pinned(val host: String, val pins: List<String>, val note: String = "")
        val ALL = listOf(Pinned("api.example.com", listOf("{A}")),
            Pinned(pins = listOf("{B}"), host = "api.example.com"))
        fun pinner() = CertificatePinner.Builder().apply {{
            ALL.forEach {{ add(it.host, *it.pins.toTypedArray()) }} }}.build()""",
        BOTH,
    ),
    "a pinner that is used under a condition": (
        f"""fun client(): OkHttpClient {{
            val client = OkHttpClient.Builder()
            if (!BuildConfig.DEBUG) {{
                client.certificatePinner(
                    CertificatePinner.Builder().add("api.example.com", "{A}").build())
            }}
            return client.build() }}""",
        ONE,
    ),
    "a pinner that is made late": (
        f"""val pinner by lazy {{
            CertificatePinner.Builder().add("api.example.com", "{A}").build() }}""",
        ONE,
    ),
    "an empty builder beside it": (
        f"""val none = CertificatePinner.Builder().build()
        val p = CertificatePinner.Builder().add("api.example.com", "{A}").build()""",
        ONE,
    ),
    "nested comments": (
        f"""/* /* .add("x.example", "{B}") */ .add("y.example", "{B}") */
        val p = CertificatePinner.Builder() // .add("z.example", "{B}")
            .add("api.example.com", "{A}").build()""",
        ONE,
    ),
    "no padding, as okio accepts it": (
        f"""val p = CertificatePinner.Builder()
            .add("api.example.com", "{str(A).rstrip("=")}").build()""",
        ONE,
    ),
    "the name with a dot at its end, pinned alike": (
        f"""val p = CertificatePinner.Builder()
            .add("api.example.com", "{A}").add("api.example.com.", "{A}").build()""",
        ONE,
    ),
    "lines elsewhere that no parser knows": (
        f"""fun interface Listener {{ fun heard(x: Int) }}
        val p = CertificatePinner.Builder().add("api.example.com", "{A}").build()""",
        ONE,
    ),
}

JAVA = {
    "constants of the class": (
        f"""import okhttp3.CertificatePinner;
        final class Net {{
            private static final String HOST = "api.example.com";
            private static final String PIN = "{A}";
            CertificatePinner pinner() {{
                return new CertificatePinner.Builder().add(HOST, PIN).add(Net.HOST, "{B}").build();
            }}
        }}""",
        BOTH,
    ),
    "a private field that is never changed, and a local variable": (
        f"""class Net {{ private static String host = "api.example.com";
            CertificatePinner pinner() {{
                String pin = "{A}";
                return new CertificatePinner.Builder().add(host, pin).build(); }} }}""",
        ONE,
    ),
    "constants of an interface": (
        f"""interface Config {{ String HOST = "api.example.com"; }}
        class Net {{ CertificatePinner p = new CertificatePinner.Builder()
            .add(Config.HOST, "{A}").build(); }}""",
        ONE,
    ),
    "constants of an interface that the class implements": (
        f"""interface Hosts {{ String HOST = "api.example.com"; }}
        interface Config extends Hosts {{ String PIN = "{A}"; }}
        class Net extends Base<String> implements Config {{
            CertificatePinner p = new CertificatePinner.Builder().add(HOST, PIN).build(); }}""",
        ONE,
    ),
    "strings joined, with escapes": (
        f"""class Net {{ static final String DOMAIN = "example.com";
            CertificatePinner p = new okhttp3.CertificatePinner.Builder()
                .add("\\u0061pi" + "." + DOMAIN, "sha256/" + "{str(A)[7:]}").build(); }}""",
        ONE,
    ),
    "arrays": (
        f"""class Net {{ private static final String[] PINS = {{"{A}", "{B}"}};
            CertificatePinner a = new CertificatePinner.Builder()
                .add("api.example.com", PINS).build();
            CertificatePinner b = new CertificatePinner.Builder()
                .add("api.example.com", new String[] {{"{A}", "{B}"}}).build(); }}""",
        BOTH,
    ),
    "a builder in a variable and loops": (
        f"""class Net {{
            static final Map<String, List<String>> PINS = Map.of(
                "api.example.com", Arrays.asList("{A}"), "b.example", List.of("{C}"));
            CertificatePinner pinner() {{
                CertificatePinner.Builder builder = new CertificatePinner.Builder();
                for (Map.Entry<String, List<String>> entry : PINS.entrySet()) {{
                    for (String pin : entry.getValue()) builder.add(entry.getKey(), pin);
                }}
                builder = builder.add("api.example.com", "{B}");
                return builder.build();
            }} }}""",
        {**BOTH, "b.example": {C}},
    ),
    "records": (
        f"""class Net {{ record Pinned(String host, String pin) {{}}
            CertificatePinner pinner() {{
                var builder = new CertificatePinner.Builder();
                for (Pinned each : List.of(new Pinned("api.example.com", "{A}"))) {{
                    builder.add(each.host(), each.pin());
                }}
                return builder.build(); }} }}""",
        ONE,
    ),
    "forEach": (
        f"""class Net {{ CertificatePinner pinner() {{
            var builder = new CertificatePinner.Builder();
            List.of("{A}", "{B}").forEach(pin -> builder.add("api.example.com", pin));
            return builder.build(); }} }}""",
        BOTH,
    ),
}


@pytest.mark.parametrize("what", KOTLIN)
def test_kotlin_is_read(what):
    code, expected = KOTLIN[what]
    assert read(code) == expected


@pytest.mark.parametrize("what", JAVA)
def test_java_is_read(what):
    code, expected = JAVA[what]
    assert read(code, "Net.java") == expected
    assert read(code, "snippet.txt") == expected  # which language it is, the text tells


START = "val p = CertificatePinner.Builder()"
REFUSED = {
    "another file's constant": (
        f'{START}\n    .add(BuildConfig.HOST, "{A}").build()',
        2,
        "the host is not known: BuildConfig is not in this file",
    ),
    "an unknown pin": (
        f'{START}\n    .add("a.example", PIN).build()',
        2,
        "a pin of a.example is not known: PIN is not in this file",
    ),
    "a parameter": (
        f'fun p(host: String = "a.example") =\n'
        f'  CertificatePinner.Builder().add(host, "{A}").build()',
        2,
        "host is a parameter",
    ),
    "a parameter that hides a constant": (
        f'val host = "a.example"\nfun p(host: String) = CertificatePinner.Builder()\n'
        f'    .add(host, "{A}").build()',
        3,
        "host is a parameter",
    ),
    "a constructor's parameter that hides a constant": (
        f'val host = "a.example"\n'
        f"class N(val host: String) {{ val p = CertificatePinner.Builder()\n"
        f'    .add(host, "{A}").build() }}',
        3,
        "host is a parameter",
    ),
    "a lambda's parameter": (
        f'{START}.apply {{ hosts.forEach {{\n    add(it, "{A}") }} }}.build()',
        2,
        "whether this call of add is made",
    ),
    "a template with what is unknown": (
        f'{START}\n    .add("$sub.example", "{A}").build()',
        2,
        "sub is not in this file",
    ),
    "a condition in a constant": (
        f'val HOST = if (BuildConfig.DEBUG) "a.example" else "b.example"\n{START}\n'
        f'    .add(HOST, "{A}").build()',
        3,
        "the host is not known: if .* is computed",
    ),
    "a getter": (
        f'val host: String get() = "a.example"\n{START}.add(host, "{A}").build()',
        2,
        "host is computed",
    ),
    "a variable that anybody can change": (
        f'var host = "a.example"\n{START}.add(host, "{A}").build()',
        2,
        "neither final nor private|not final or private",
    ),
    "a private variable that is changed": (
        f'private var host = "a.example"\nfun f() {{ host = "b.example" }}\n'
        f'{START}.add(host, "{A}").build()',
        3,
        "given another value",
    ),
    "an open property": (
        f'open class N {{ open val host = "a.example"\n'
        f'  val p = CertificatePinner.Builder().add(host, "{A}").build() }}',
        2,
        "subclass",
    ),
    "what a class inherits before what stands around it": (
        f'val host = "a.example"\nabstract class B {{ abstract val host: String }}\n'
        f'class N : B() {{ val p = CertificatePinner.Builder()\n  .add(host, "{A}").build() }}',
        4,
        "host .*subclass",
    ),
    "classes that inherit from each other": (
        f"open class A : B()\nopen class B : A() {{ val p = CertificatePinner.Builder()\n"
        f'  .add(host, "{A}").build() }}',
        3,
        "host is not in this file",
    ),
    "add after build": (
        f"fun p(): CertificatePinner {{ val b = CertificatePinner.Builder()\n"
        f'  val p = b.add("a.example", "{A}").build()\n  b.add("a.example", "{B}")\n  return p }}',
        3,
        "add after build",
    ),
    "a list that can be changed": (
        f'val PINS = mutableListOf("{A}")\n{START}.add("a.example", *PINS.toTypedArray()).build()',
        2,
        "a pin of a.example is not known",
    ),
    "a constant defined by itself": (
        f'val A = B\nval B = A\n{START}.add(A, "{A}").build()',
        3,
        "defined by itself",
    ),
    "add under a condition": (
        f"fun p(): CertificatePinner {{ val b = CertificatePinner.Builder()\n"
        f'  if (release) {{\n    b.add("a.example", "{A}") }}\n  return b.build() }}',
        3,
        "whether this call of add is made is not known",
    ),
    "add in another function": (
        f"class N {{ private val b = CertificatePinner.Builder()\n"
        f'  fun more() {{\n    b.add("a.example", "{A}") }}\n  fun p() = b.build() }}',
        3,
        "in another function",
    ),
    "a builder handed on": (
        f"fun p(): CertificatePinner {{ val b = CertificatePinner.Builder()\n"
        f'  .add("a.example", "{A}")\n  addMore(b)\n  return b.build() }}',
        3,
        "handed to other code",
    ),
    "a builder returned": (
        f"fun p(): CertificatePinner.Builder {{\n  return CertificatePinner.Builder()\n"
        f'  .add("a.example", "{A}") }}',
        2,
        "handed to other code",
    ),
    "a builder that a lambda gives": (
        f'val b by lazy {{ CertificatePinner.Builder().add("a.example", "{A}") }}',
        1,
        "handed to other code",
    ),
    "a reference to add": (
        f"fun p(): CertificatePinner {{ val b = CertificatePinner.Builder()\n"
        f'  listOf("{A}").forEach(b::add)\n  return b.build() }}',
        2,
        "handed to other code",
    ),
    "a builder that is a parameter": (
        f'fun more(b: CertificatePinner.Builder) {{\n  b.add("a.example", "{A}") }}\n'
        f'{START}.add("b.example", "{A}").build()',
        2,
        "adds pins to what is no CertificatePinner.Builder",
    ),
    "an extension of the builder": (
        f'fun CertificatePinner.Builder.ours() =\n  add("a.example", "{A}")\n'
        f"{START}.ours().build()",
        2,
        "adds pins to what is no",
    ),
    "an unknown call of the builder": (
        f'{START}.add("a.example", "{A}")\n  .addOurs()\n  .build()',
        2,
        "addOurs is no call",
    ),
    "another library's class": (
        "import io.ktor.client.engine.darwin.certificates.CertificatePinner\n"
        f'{START}.add("a.example", "{A}").build()',
        2,
        "not OkHttp's",
    ),
    "a builder without build": (f'val b = 1\n{START}.add("a.example", "{A}")', 2, "nothing builds"),
    "a builder that is replaced": (
        "fun p(): CertificatePinner { var b = CertificatePinner.Builder()"
        f'.add("a.example", "{A}")\n'
        f"  b = CertificatePinner.Builder()\n  return b.build() }}",
        2,
        "replaced",
    ),
    "a statement that is no Kotlin": (
        f'val x = 1\n{START}.add("a.example" "{A}").build()',
        2,
        "cannot be parsed|add is no call",
    ),
    "a constant in a statement that is no Kotlin": (
        f'val HOST = = "a.example"\n{START}.add(HOST, "{A}").build()',
        2,
        "HOST stands in line 1",
    ),
    "a pin by another hash": (
        f'{START}\n  .add("a.example", "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAA=").build()',
        2,
        "a.example: not a SHA-256 pin.*'sha1/",
    ),
    "a placeholder": (
        f'{START}\n  .add("a.example", "sha256/{"B" * 43}=").build()',
        2,
        "a.example: a placeholder",
    ),
    "a wrong pin, where its constant stands": (
        f'const val PIN = "sha256/AAAA"\n{START}.add("a.example", PIN).build()',
        1,
        "a.example: a SHA-256 pin has 32 bytes",
    ),
    "the name with a dot at its end only": (
        f'{START}\n  .add("a.example.", "{A}").build()',
        2,
        "has pins that a.example has not",
    ),
    "an address that is none": (
        f'{START}\n  .add(URL("https://a.example@b.example/").host, "{A}").build()',
        2,
        "the host is not known",
    ),
    "data that can be changed": (
        f'data class P(var host: String)\n{START}.add(P("a.example").host, "{A}").build()',
        2,
        "the host is not known",
    ),
    "data that is not given": (
        f'data class P(val a: Int, val h: String = "x")\n{START}.add(P(1).h, "{A}").build()',
        2,
        "the host is not known",
    ),
    "a jump in a loop": (
        f'val PINS = listOf("{A}", "{B}")\nfun p(): CertificatePinner {{\n'
        "val b = CertificatePinner.Builder()\nfor (pin in PINS) { if (pin == other) continue\n"
        '  b.add("a.example", pin) }\nreturn b.build() }',
        5,
        "after a jump",
    ),
    "a jump out of a lambda": (
        f'{START}.apply {{ if (debug) return@apply\n  add("a.example", "{A}") }}.build()',
        2,
        "after a jump",
    ),
    "a jump out of forEach": (
        f'{START}.apply {{ listOf("{A}").forEach {{ if (it == x) return@forEach\n'
        f'  add("a.example", it) }} }}.build()',
        2,
        "after a jump",
    ),
    "a name that is imported": (
        f'import other.HOST\nconst val HOST = "a.example"\n{START}.add(HOST, "{A}").build()',
        3,
        "HOST is imported",
    ),
    "a pinner that is the value of a parameter": (
        "fun p(b: CertificatePinner =\n  CertificatePinner.Builder().add(HOST, PIN).build()) = b\n"
        f'{START}.add("a.example", "{A}").build()',
        2,
        "HOST is not in this file",
    ),
    "a pinner in a lambda": (
        f'val x = "a".foo {{\n  CertificatePinner.Builder().add(HOST, PIN).build() }}\n'
        f'{START}.add("a.example", "{A}").build()',
        2,
        "HOST is not in this file",
    ),
    "loops without an end": (
        "val X = listOf("
        + ", ".join('"x"' for _ in range(100))
        + f")\nfun p() {{ {'for (a in X) ' * 8} y() }}\n{START}.add('a', 'b').build()",
        2,
        "too long to follow",
    ),
    "no builder": ("val x = 1", None, r"no CertificatePinner\.Builder\(\)"),
    "an empty builder": (f"{START}.build()", None, "no host with pins"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_file_does_not_say_is_refused_with_its_line(what):
    code, line, why = REFUSED[what]
    with pytest.raises(FormatError, match=why) as caught:
        read(code)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("code", "line", "why"),
    [
        (
            f'class N {{ static String HOST = "a.example";\n'
            f'CertificatePinner p = new CertificatePinner.Builder().add(HOST, "{A}").build(); }}',
            2,
            "not final or private",
        ),
        (
            f"class N {{ private final String host; N(String host) {{ this.host = host; }}\n"
            f'CertificatePinner p = new CertificatePinner.Builder().add(host, "{A}").build(); }}',
            2,
            "host is given another value",
        ),
        (
            f'class N {{ static final String[] P = {{"{A}"}}; static {{ P[0] = other(); }}\n'
            'CertificatePinner p = new CertificatePinner.Builder().add("a.example", P).build(); }',
            2,
            "P is given another value",
        ),
        (
            f"class N {{ CertificatePinner p = new CertificatePinner.Builder() {{{{\n"
            f'add("a.example", "{A}"); }}}}.build(); }}',
            1,
            "a subclass is no call",
        ),
        (
            f"// \\u000a class X {{}}\nclass N {{ CertificatePinner p = new CertificatePinner"
            f'.Builder().add("a.example", "{A}").build(); }}',
            1,
            "may end a comment",
        ),
    ],
)
def test_java_that_the_file_does_not_decide_is_refused(code, line, why):
    with pytest.raises(FormatError, match=why) as caught:
        read(code, "N.java")
    assert caught.value.line == line


def test_several_pinners_are_put_together_and_it_is_said_what_that_changes():
    apart = f"""val a = CertificatePinner.Builder().add("a.example", "{A}").build()
    val b = CertificatePinner.Builder().add("b.example", "{B}").build()"""
    assert read(apart) == {"a.example": {A}, "b.example": {B}}
    assert losses(apart) == [("pinners-together", None)]
    other = apart.replace("b.example", "a.example")
    assert read(other) == {"a.example": {A, B}}
    assert losses(other) == [("pinners-differ", "a.example")]
    assert losses(apart.replace("b.example", "a.example").replace(str(B), str(A))) == []


def test_a_pin_without_padding_is_written_with_it():
    code = f'{START}.add("a.example", "{str(A).rstrip("=")}").build()'
    imported = import_from("okhttp", {"x.kt": code.encode()})
    assert str(A) in imported.pins.dumps("toml")


@pytest.mark.parametrize("name", ["okhttp", "okhttp-java"])
def test_thousands_of_hosts_come_back(name):
    file = pin_file(*(host(f"h{number}.example.com") for number in range(2000)))
    files = export_to(name, file).files
    assert import_from(name, files).pins.pin_set() == file.pin_set()


@pytest.mark.parametrize(("file", "new"), [("Net.kt", ""), ("Net.java", "new ")])
def test_a_chain_of_thousands_of_calls_is_read(file, new):
    calls = "".join(f'\n.add("h{number}.example.com", "{A}")' for number in range(3000))
    chain = f"{new}CertificatePinner.Builder(){calls}.build()"
    code = f"class N {{ CertificatePinner p = {chain}; }}" if new else f"val p = {chain}"
    assert len(read(code, file)) == 3000


def test_a_long_sum_of_strings_is_read():
    letters = " + ".join(f'"{letter}"' for letter in "a" * 3000)
    with pytest.raises(FormatError, match="is too long"):
        read(f'{START}.add({letters}, "{A}").build()')


@pytest.mark.parametrize(("open_", "close"), ["()", ("f(", ")"), ("listOf(", ")"), "{}"])
def test_code_that_is_nested_too_deeply_is_refused(open_, close):
    code = f'val x = {open_ * 3000}1{close * 3000}\n{START}.add("a.example", "{A}").build()'
    with pytest.raises(FormatError, match="nested too deeply"):
        read(code)


def test_without_the_parser_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tree_sitter_kotlin", None)
    with pytest.raises(FormatError, match=r"tree_sitter_kotlin.*pip install 'keypin\[formats\]'"):
        read(KOTLIN["templates"][0])
    assert export_to("okhttp", pin_file(host())).files
