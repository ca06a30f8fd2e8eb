"""How Sphinx makes the site of these documents; `make docs`."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.errors import ExtensionError
from sphinx.util import logging

from keypin import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

HERE = Path(__file__).parent
REFERENCE = HERE / "reference"  # a page for each public module, of the module's name
COMMANDS = HERE / "_generated" / "commands.md"

COLON = "\ue000"

project = "keypin"
author = "The keypin authors"
release = __version__
copyright = f"{author}, MIT license"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
html_theme = "furo"
html_title = f"keypin {release}"
html_static_path: list[str] = []
html_show_sphinx = False

# the anchors that the forge gives to headings
myst_heading_anchors = 4
# "…" in an example is of no language
suppress_warnings = ["misc.highlighting_failure"]
# commands are copied without their prompt, and without what they print
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

# `Pin` in a docstring is a link where that is a documented name, and code where it is not
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    # what other projects document: nothing is fetched to build the site
    ("py:.*", r"(?!keypin\.).*"),
    # bases and annotations that are no public names
    ("py:.*", r"keypin\.(.*\.)?_.*"),
    ("py:.*", r"keypin\.lab\.(certificates\.Profile|stage\.AnyListener)"),
]
autodoc_member_order = "alphabetical"
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "show-inheritance": True,
    # what has a page of its own, or is not ours
    "inherited-members": ",".join(
        [
            *("object", "Enum", "Exception", "OSError", "ValueError", "Warning", "tuple"),
            *("KeypinError", "PinMismatch", "RequestFailed", "Client", "AsyncClient"),
        ]
    ),
}
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False
linkcheck_ignore = [r"https?://(.*\.)?example\.(com|org|net).*", r"https?://(localhost|127\.).*"]


def write_commands(app: Sphinx) -> None:
    """Have Typer write the page of commands and options."""
    COMMANDS.parent.mkdir(exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "typer", HERE / "documented_app.py"),
            *("utils", "docs", "--name", "keypin", "--title", "Commands and options"),
            *("--output", COMMANDS),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def check_reference(app: Sphinx, environment: BuildEnvironment) -> None:
    """Warn of each public name that the reference lacks."""
    documented = environment.domaindata["py"]["objects"]
    pages = sorted(REFERENCE.glob("*.md"))
    if not pages:
        raise ExtensionError(f"no page in {REFERENCE}")
    for page in pages:
        module = importlib.import_module(page.stem)
        for name in module.__all__:
            if f"{module.__name__}.{name}" not in documented:
                message = (
                    "%s.%s is public and not in the reference: give it a docstring, or"
                    " `.. autodata::` on its module's page if it is an alias or a constant"
                )
                logging.getLogger(__name__).warning(message, module.__name__, name)


def before_napoleon(
    app: Sphinx, what: str, name: str, documented: object, options: object, lines: list[str]
) -> None:
    """Make reStructuredText of what docstrings write as Markdown does."""
    text = "\n".join(lines)
    if what == "module":
        text = text.replace("PYTEST_DONT_REWRITE", "")
        # a map of modules, indented
        text = re.sub(r"\n\n(?=    \S)", "\n\n::\n\n", text)
    if what in {"property", "attribute"}:
        # which napoleon would take for the end of a type
        text = text.replace(":", COLON)
    if what == "data" and text.strip() == inspect.getdoc(type(documented)):
        text = ""  # what the docstring of tuple says is of no use
    # `Pin`s
    text = re.sub(r"(`[^`]+`)(\w?)", lambda found: rf"{found[1]}\ {found[2]}".rstrip("\\ "), text)
    lines[:] = text.split("\n")


def after_napoleon(
    app: Sphinx, what: str, name: str, documented: object, options: object, lines: list[str]
) -> None:
    """Put back what was hidden from napoleon."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def is_foreign(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out what a class has from another project's or Python's own."""
    if isinstance(member, property):
        member = member.fget
    owner = getattr(member, "__objclass__", member)
    module = getattr(owner, "__module__", None) or "keypin"
    return None if module.partition(".")[0] == "keypin" else True


def setup(app: Sphinx) -> None:
    """Add these to Sphinx."""
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("autodoc-skip-member", is_foreign)
    app.connect("builder-inited", write_commands)
    app.connect("env-check-consistency", check_reference)
