"""Python: a module for programs that do without keypin, by the standard library alone.

It is `_python_snippet.py` with the rules put in: for http.client and urllib.request, with the
patterns, the order among them, exclusions, denied keys and `match` as keypin has them. Its own
documentation says what it does not do.
"""

from __future__ import annotations

import ast
from importlib.resources import files as resources
from typing import TYPE_CHECKING

from ..pinfile import HostEntry
from ._conversion import Draft, FormatError, Reading, located, pin_file, text_of
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..pinfile import PinFile
    from ..pinset import Rule, Unlisted
    from ._conversion import Certificates, Files

__all__ = ["TITLE", "export", "read"]

TITLE = "the Python module"
FILE = "pinned_https.py"
BEGIN, END = "RULES: dict[str, Any] = {", "# The end of the pins.\n"


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the module."""
    before, after = _template()
    rules = "".join(f"\n{line}" for rule in pins.rules() for line in _lines(rule))
    text = f'{before}{BEGIN}{rules}\n}}\nUNLISTED = "{pins.defaults.unlisted}"\n{END}{after}'
    files = {FILE: text.encode()}
    return Draft(
        files,
        read(files, ()).pins.pin_set(),
        (loss("client-certificate-shown", target=TITLE),),
    )


def _template() -> tuple[str, str]:
    text = resources(__package__).joinpath("_python_snippet.py").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before, rest.partition(END)[2]


def _lines(rule: Rule) -> Iterator[str]:
    if rule.exclude:
        yield f'    "{rule.host}": None,'
        return
    yield f'    "{rule.host}": {{'
    yield f'        "match": "{rule.match}",'
    yield '        "pins": ['
    yield from (f'            "{pin}",' for pin in rule.pins)
    yield "        ],"
    denied = ", ".join(f'"{pin}"' for pin in rule.deny)
    yield f'        "deny": [{denied}],'
    yield "    },"


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read a module that `export` wrote; one that was changed beyond its pins is refused."""
    name, text = text_of(files)
    before, after = _template()
    if not text.startswith(before + BEGIN) or not text.endswith(END + after):
        raise FormatError("not what keypin export python writes, or changed beyond its pins", name)
    with located(name):
        rules, unlisted = _tables(text[len(before) : -len(END + after)])
        entries = [_host(host, rule) for host, rule in rules.items()]
    return Reading(pin_file(entries, unlisted))


def _tables(text: str) -> tuple[dict[str, object], Unlisted]:
    try:
        statements = ast.parse(text).body
        rules, unlisted = (ast.literal_eval(each.value) for each in statements)  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError):
        raise FormatError("the pins are not two plain values, RULES and UNLISTED") from None
    if not isinstance(rules, dict) or unlisted not in ("allow", "refuse"):
        raise FormatError('RULES is a dictionary, UNLISTED is "allow" or "refuse"')
    return rules, "refuse" if unlisted == "refuse" else "allow"


def _host(host: object, rule: object) -> HostEntry:
    if rule is None:
        return HostEntry(str(host), exclude=True)
    if not isinstance(rule, dict) or set(rule) != {"match", "pins", "deny"}:
        raise FormatError(f"{host}: a rule is None, or has match, pins and deny")
    return HostEntry(str(host), rule["pins"], rule["deny"], match=rule["match"])
