"""The examples with access tokens in docs/resource-requests.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from oauth_scene import Api
from scene import authority, issuing
from test_docs import HOST, SITE

from keypin.lab import Http, Server

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "docs" / "resource-requests.md").read_text("utf-8")
BLOCKS = re.findall(r"^```py\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example(block, tmp_path):
    credential = issuing().issue(HOST)
    folder = tmp_path / "www" / "certificates"
    folder.mkdir(parents=True)
    for name in ("myCertificate.cer", "backup.cer"):
        (folder / name).write_bytes(credential.certificate)
    (tmp_path / "ca.pem").write_text(authority().pem)
    api = Api(paths={"/mfp/api/adapters/people/all": "people.read"})
    with Server(credential, application=Http(answer=api)) as server:
        done = subprocess.run(
            [sys.executable, "-c", SITE + block.replace(HOST, f"{HOST}:{server.port}")],
            cwd=tmp_path,
            env={
                "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
                "MY_PROGRAM_SECRET": "s3cret",
                "PYTHONPATH": str(ROOT / "src"),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert "/mfp/api/adapters/people/all" in done.stdout
    assert api.scopes == ["people.read"]
    assert api.sent[-1][2] == "token0~people.read"
