"""``python -m tests.conformance SCENARIOS_DIR RESULTS_DIR``: run every scenario of a folder, write one result each."""

import json
import sys
from pathlib import Path

from .adapter import run_scenario


def main(scenarios: Path, results: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    for path in sorted(scenarios.glob("*.json")):
        scenario = json.loads(path.read_text())
        result = run_scenario(scenario)
        (results / path.name).write_text(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
