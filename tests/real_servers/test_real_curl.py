"""curl accepts of real servers the pins that keypin makes, and refuses others as keypin does."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from scene import issuing

from .conftest import programs_and_kinds, shown

curl = shutil.which("curl")


@pytest.mark.skipif(curl is None, reason="needs curl (make system-deps)")
@pytest.mark.parametrize(("program", "kind"), programs_and_kinds())
def test_curl_accepts_the_same_pin_and_refuses_another(kind, program, server, word, cafile):
    name = f"{kind}-1.3"
    others = [issuing().issue(key=each.key.kind) for each in shown(kind)]
    for credentials, fate, code in ((shown(kind), "accepted", 0), (others, "refused", 90)):
        pins = [str(each.pin).replace("sha256/", "sha256//", 1) for each in credentials]
        done = subprocess.run(
            [
                *(curl, "--silent", "--cacert", cafile, "--pinnedpubkey", ";".join(pins)),
                server.at(name).url(word(fate)),
            ],
            capture_output=True,
            timeout=60,
            env={},
        )
        assert done.returncode == code
        assert done.stdout.decode() == (program.name if code == 0 else "")
    assert not any(each.startswith("refused") for each in server.requests(name))
