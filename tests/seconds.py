"""Writes tests/seconds.json: `make test-all REPORT=report.xml`, then `python tests/seconds.py report.xml`."""

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
    long = {test: took for test, took in seconds(Path(sys.argv[1])).items() if took >= FROM_SECONDS}
    text = json.dumps(dict(sorted(long.items())), indent=0, ensure_ascii=False)
    (Path(__file__).parent / "seconds.json").write_text(text + "\n", encoding="utf-8")
