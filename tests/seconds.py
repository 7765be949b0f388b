"""Writes tests/seconds.json from JUnit reports, of each test the largest number.

`make test-all REPORT=all.xml`, `make test REPORT=quick.xml`,
then `python tests/seconds.py all.xml quick.xml`.
What several tests share is on the account of the first that runs: another one where some are left out.
"""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

FROM_SECONDS = 1.0
"""Shorter tests are not written down."""


def seconds(report: Path) -> dict[str, float]:
    """What each test of a JUnit report took."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        path = case.attrib["classname"].replace(".", "/")
        found[f"{path}.py::{case.attrib['name']}"] = round(float(case.attrib["time"]), 1)
    return found


if __name__ == "__main__":
    longest: dict[str, float] = {}
    for report in sys.argv[1:]:
        for test, took in seconds(Path(report)).items():
            if took >= max(FROM_SECONDS, longest.get(test, 0)):
                longest[test] = took
    text = json.dumps(dict(sorted(longest.items())), indent=0, ensure_ascii=False)
    (Path(__file__).parent / "seconds.json").write_text(text + "\n", encoding="utf-8")
