"""`keypin check` of 2,000 hosts on one loopback server, by the clock on the wall.

Whole commands, reading the pin file and writing the report included. `openssl s_time`, which does
nothing but handshakes, one after the other, says what the server and the machine can do; a check
shakes hands once for each host with `--one-key` and `--repeat 1`, and twice without the former.
"""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import server
from measure import Result, Seconds, interleave, stopwatch

from keypin import Pin
from keypin.cli import main
from keypin.lab import Authority, new_key
from keypin.pinfile import HostEntry, PinEntry, PinFile

__all__ = ["run"]

HOSTS, QUICK_HOSTS = 2000, 50
ROUNDS, QUICK_ROUNDS = 3, 1
S_TIME_SECONDS, QUICK_S_TIME_SECONDS = 5, 1
DOMAIN = "bench.example"
WORKERS = 32

SIDE_BY_SIDE, ONE_WORKER, BOTH_KEYS = f"{WORKERS} workers", "1 worker", "both types of key"
S_TIME = "openssl s_time"
S_TIME_SAID = re.compile(r"(\d+) connections in (\d+) real seconds")


def run(quick: bool) -> Iterator[Result]:
    count = QUICK_HOSTS if quick else HOSTS
    seconds = QUICK_S_TIME_SECONDS if quick else S_TIME_SECONDS
    with TemporaryDirectory() as name:
        folder = Path(name)
        credential = prepare(folder, count)
        with server.running(credential) as address:
            command = [*arguments(folder, address, count), "--repeat", "1"]
            ways = {
                SIDE_BY_SIDE: partial(check, [*command, "--one-key"]),
                ONE_WORKER: partial(check, [*command, "--one-key", "--workers", "1"]),
                BOTH_KEYS: partial(check, command),
                S_TIME: partial(handshakes, folder, address, seconds),
            }
            done = interleave(ways, QUICK_ROUNDS if quick else ROUNDS)
    for way in (SIDE_BY_SIDE, ONE_WORKER, BOTH_KEYS):
        rates = [count / spent.wall for spent in done.seconds[way]]
        yield Result(f"{count} hosts, {way}: hosts per second", rates)
    rates = [1 / spent.wall for spent in done.seconds[S_TIME]]
    yield Result(f"{S_TIME}: handshakes per second", rates)
    yield Result(f"{SIDE_BY_SIDE} against 1", done.speed_ratios(SIDE_BY_SIDE, ONE_WORKER))
    pairs = zip(done.seconds[SIDE_BY_SIDE], done.seconds[S_TIME], strict=True)
    ratios = [count / mine.wall * other.wall for mine, other in pairs]
    yield Result(f"{SIDE_BY_SIDE} against {S_TIME}", ratios)


def prepare(folder: Path, count: int) -> Path:
    """Write the pin file and the root; return the server's credential."""
    root = Authority()
    issued = root.intermediate("issuing").issue(f"*.{DOMAIN}")
    backup = PinEntry(Pin.from_public_key(new_key().spki), "backup")
    hosts = [HostEntry(name, [issued.pin, backup]) for name in names(count)]
    PinFile(hosts).dump(folder / "pins.toml")
    folder.joinpath("root.pem").write_text(root.pem)
    credential = folder / "server.pem"
    credential.write_bytes(issued.key_pem + issued.chain_pem)
    return credential


def names(count: int) -> list[str]:
    return [f"host-{number}.{DOMAIN}" for number in range(count)]


def arguments(folder: Path, address: tuple[str, int], count: int) -> list[str]:
    host, port = address
    there = [f"--connect-to={name}={host}:{port}" for name in names(count)]
    pins, root = folder / "pins.toml", folder / "root.pem"
    return ["check", f"--pins={pins}", f"--cafile={root}", *there]


def check(command: list[str]) -> Seconds:
    codes = []
    with redirect_stdout(io.StringIO()):
        spent = stopwatch(lambda: codes.append(main(command)))
    assert codes == [0]
    return spent


def handshakes(folder: Path, address: tuple[str, int], seconds: int) -> Seconds:
    """What one handshake took."""
    host, port = address
    command = ["openssl", "s_time", "-connect", f"{host}:{port}", "-new", "-time", str(seconds)]
    said = subprocess.run(
        [*command, "-CAfile", folder / "root.pem", "-verify", "3"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    matched = S_TIME_SAID.search(said)
    assert matched is not None, said
    return Seconds(0.0, int(matched[2]) / int(matched[1]))
