"""``python -m tests.bench supervisors|fanout|application|profile``: figures, as ratios where peers run beside."""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from pathlib import Path
from typing import Any, Final

import attrs

from tests.bench import application, fanout, supervisors
from tests.bench.chart import chart
from tests.bench.contenders import CONTENDERS
from tests.bench.figures import markdown, report
from tests.bench.goals import GOALS
from tests.bench.processes import cores, raise_file_limit
from tests.bench.profile import profile
from tests.bench.runner import measure, table
from tests.bench.versions import versions

FULL: Final = 10
"""Pairs of a run that counts."""


def run_supervisors(options: argparse.Namespace) -> None:
    figures = []
    for case in supervisors.SUITE.cases:
        if options.only in case.name:
            print(f"{case.name} ...", file=sys.stderr, flush=True)
            figures.append(measure(supervisors.SUITE, case, options.pairs, peers=not options.no_peers))
    print(json.dumps(figures, indent=2) if options.json else table(figures))


def run_fanout(options: argparse.Namespace) -> None:
    names = list(CONTENDERS) if options.servers is None else options.servers.split(",")
    if unknown := [name for name in names if name not in CONTENDERS]:
        sys.exit(f"no such server: {', '.join(unknown)}; all are: {', '.join(CONTENDERS)}")
    cores()
    raise_file_limit()
    pairs = options.pairs or (2 if options.quick else FULL)
    where = about(names, pairs)  # first, as it builds what is missing
    runs = fanout.measure(names, options.only, pairs, fanout.QUICK if options.quick else fanout.Scale())
    data = report(runs, GOALS, where)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write(data, options.out)
    print(json.dumps(data, indent=1) if options.json else markdown(data))


def run_application(options: argparse.Namespace) -> None:
    figures = application.measure(options.connects)
    print(
        json.dumps([attrs.asdict(each) for each in figures], indent=1) if options.json else application.table(figures)
    )


def run_profile(options: argparse.Namespace) -> None:
    raise_file_limit()
    tables = profile(options.seconds)
    if options.out is not None:
        (options.out / "profile.inc").write_text(tables + "\n")
    print(tables)


def write(data: dict[str, Any], folder: Path) -> None:
    """The figures, their tables and their chart: what the documentation shows."""
    (folder / "fanout.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / "fanout.inc").write_text(markdown(data) + "\n")
    (folder / "fanout.svg").write_text(chart(data))


def about(names: list[str], pairs: int) -> dict[str, Any]:
    """Where and with what these figures came to be."""
    asked = [word for at, word in enumerate(sys.argv) if "--out" not in (word, sys.argv[at - 1])]
    short = {"note": "a short run, which shows where one stands and no more"} if pairs < FULL else {}
    return short | {
        "command": shlex.join(["python", "-m", "tests.bench", *asked[1:]]),
        "machine": f"{_processor()}, Linux {platform.release()}, 2 of its cores used",
        "versions": ", ".join(f"{name} {number}" for name, number in versions(names).items()),
        "pairs": pairs,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    suites = parser.add_subparsers(dest="suite", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")
    common.add_argument("--only", metavar="TEXT", default="", help="measure only what has TEXT in its name")

    actors = suites.add_parser("supervisors", parents=[common], help=supervisors.__doc__)
    actors.add_argument("--pairs", type=int, default=10, help="interleaved pairs of each measurement (default: 10)")
    actors.add_argument("--no-peers", action="store_true", help="leave out other libraries")
    actors.set_defaults(run=run_supervisors)

    fan = suites.add_parser("fanout", parents=[common], help="WebSocket fan-out")
    fan.add_argument("--pairs", type=int, help="interleaved runs of each server (default: 10, with --quick 2)")
    fan.add_argument("--servers", metavar="A,B", help=f"only these of: {', '.join(CONTENDERS)}")
    fan.add_argument("--quick", action="store_true", help="shorter runs, to see where one stands")
    fan.add_argument("--out", type=Path, metavar="FOLDER", help="write JSON, tables and chart to FOLDER as well")
    fan.set_defaults(run=run_fanout)

    whole = suites.add_parser("application", help="latency, memory and connects of realtime serve as it comes")
    whole.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    whole.add_argument("--connects", type=int, default=application.CONNECTS, help="how many (default: 10000)")
    whole.set_defaults(run=run_application)

    look = suites.add_parser("profile", help="where the time of our server goes")
    look.add_argument("--seconds", type=float, default=8.0, help="for each table (default: 8)")
    look.add_argument("--out", type=Path, metavar="FOLDER", help="write the tables to FOLDER as well")
    look.set_defaults(run=run_profile)

    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
