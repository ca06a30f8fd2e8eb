"""How a command ends: its exit code, and the error that chooses one."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CommandError", "ExitCode"]


class ExitCode(IntEnum):
    """What the commands exit with.

    Where curl has a number for it, it is curl's; otherwise that of BSD's sysexits.h.
    """

    OK = 0
    DEMO_FAILED = 1
    """keypin demo: a step did not come out as promised; keypin check: warnings only"""
    CRITICAL = 2
    """keypin check, keypin deploy, keypin plan: clients are refused, or will be;
    keypin lab run, keypin lab serve: the client refuses an honest server"""
    UNKNOWN = 3
    """keypin check, keypin deploy: something could not be told"""
    UNREACHABLE = 7
    """no connection: name unknown, refused, cut off, no TLS"""
    HTTP_ERROR = 22
    """with --fail, a status of 400 or above; without, redirects that lead nowhere"""
    TIMEOUT = 28
    """the server did not answer in time"""
    NOT_VERIFIED = 60
    """no trusted authority vouches for the server's certificate, date and name"""
    USAGE = 64
    """the arguments make no sense"""
    BAD_FILE = 65
    """a file is not what it should be"""
    NO_FILE = 66
    """a file that is to be read is not there, or cannot be read, whatever the command"""
    MISSING_EXTRA = 69
    """keypin[cli] is not installed"""
    RELOAD_FAILED = 71
    """keypin deploy: the server could not be told of its new certificate, and has the old one"""
    CANNOT_WRITE = 73
    """a file cannot be written, or is there already"""
    INCONCLUSIVE = 75
    """keypin doctor: whether the program is pinned remains open; keypin lab run, keypin lab serve:
    some case, too"""
    BYPASSED = 76
    """keypin doctor: the program is not pinned, a server without the pinned key received bytes;
    keypin lab run, keypin lab serve: an attacker received something, or the client hung"""
    NOT_ALLOWED = 77
    """keypin export, import: the result would be less safe, and that was not allowed; keypin add,
    remove, promote, retire: so would the edit, or it would lock clients out"""
    NOT_PINNED = 78
    """keypin run: the program, or one that it started, could not be pinned and did not run"""
    PIN_MISMATCH = 90
    """the server does not hold a pinned key, or answers with a redirect to plain http"""
    CANNOT_RUN = 126
    """keypin run: the program is there, but cannot be run"""
    NO_COMMAND = 127
    """keypin run: there is no such program"""
    INTERRUPTED = 130
    """Ctrl-C"""


class CommandError(Exception):
    """Ends a command.

    Args:
        code: what to exit with.
        message: for standard error; may have several lines.
    """

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
