"""``python -m tests.bench supervisors [--json]``: figures as ratios against floors and peers of the same run."""

from __future__ import annotations

import argparse
import json
import sys

from tests.bench import supervisors
from tests.bench.runner import measure, table

SUITES = {"supervisors": supervisors.SUITE}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.add_argument("--pairs", type=int, default=10, help="interleaved pairs of each measurement (default: 10)")
    parser.add_argument("--only", metavar="TEXT", default="", help="measure only what has TEXT in its name")
    parser.add_argument("--no-peers", action="store_true", help="leave out other libraries")
    options = parser.parse_args()
    suite = SUITES[options.suite]
    figures = []
    for case in suite.cases:
        if options.only in case.name:
            print(f"{case.name} ...", file=sys.stderr, flush=True)
            figures.append(measure(suite, case, options.pairs, peers=not options.no_peers))
    print(json.dumps(figures, indent=2) if options.json else table(figures))


if __name__ == "__main__":
    main()
