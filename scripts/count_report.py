"""Prints how many tests of a JUnit report passed and how many failed."""

import sys
import xml.etree.ElementTree as ElementTree


def main(path):
    passed = failed = 0
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        failed += bad
        passed += int(suite.get("tests", 0)) - bad - int(suite.get("skipped", 0))
    # An error in the tear-down of a test that passed is reported beside it, in the same case.
    print(max(passed, 0), failed)


if __name__ == "__main__":
    main(sys.argv[1])
