"""Long studies: `make study` runs all, `make study ONLY=demo` one. Each ends with a table, and the exit code is 1 when
a target is missed.
"""

import argparse
import sys
from collections.abc import Callable

from tests.bench import (
    memory_calibration,
    rollout_study,
    screening,
    study_demo,
    study_generations,
    study_soak,
)

STUDIES: dict[str, Callable[[], bool]] = {
    "demo": study_demo.study,
    "memory": memory_calibration.study,
    "screening": screening.study,
    "rollout": rollout_study.study,
    "generations": study_generations.study,
    "soak": study_soak.study,
}
"""By name; each returns whether all its targets were met."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="?", const="", default="", help=f"one of: {', '.join(STUDIES)}")
    only = parser.parse_args().only
    if only and only not in STUDIES:
        parser.error(f"there is no study {only!r}; there are: {', '.join(STUDIES)}")
    chosen = [STUDIES[only]] if only else list(STUDIES.values())
    sys.exit(0 if all([study() for study in chosen]) else 1)


if __name__ == "__main__":
    main()
