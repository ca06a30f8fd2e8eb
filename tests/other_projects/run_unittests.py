"""Run tests of Python's own, and write their outcomes: run_unittests.py OUTCOMES.json TEST ..."""

from __future__ import annotations

import json
import logging
import sys
import unittest
from pathlib import Path

from test import support

# Of a test that fails where it has connected without a server name, which pins refuse by design.
NAMELESS = "failed, nameless"


class Outcomes(unittest.TextTestResult):
    """Knows the outcome of each test, and of what keypin has refused in it."""

    def startTestRun(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.refused: set[str] = set()
        logger = logging.getLogger("keypin")
        logger.setLevel(logging.INFO)
        logger.addFilter(self.hear)

    def hear(self, record: logging.LogRecord) -> bool:
        self.refused.add(getattr(record, "keypin_reason", ""))
        return False

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.refused.clear()

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.outcomes.setdefault(test.id(), "passed")

    def addFailure(self, test: unittest.TestCase, err: object) -> None:
        super().addFailure(test, err)
        self.note_failure(test)

    def addError(self, test: unittest.TestCase, err: object) -> None:
        super().addError(test, err)
        self.note_failure(test)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note_failure(test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.outcomes.setdefault(test.id(), "skipped")

    def note_failure(self, test: unittest.TestCase) -> None:
        self.outcomes[test.id()] = NAMELESS if "NO_SERVER_NAME" in self.refused else "failed"


support.use_resources = {}  # no network
tests = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:])
result = unittest.TextTestRunner(verbosity=0, resultclass=Outcomes).run(tests)
Path(sys.argv[1]).write_text(json.dumps(result.outcomes), "utf-8")
