"""Runs test tiers one after the other and says what ran, what failed, what was skipped and why.

    python tests/tiers.py [--expect TIER,TIER] TIER...

Each tier is one pytest run, so a stack that one tier brings up is gone before the next begins.
"""

import argparse
import subprocess
import sys
import time

PYTEST = (sys.executable, "-m", "pytest", "-m")
TIERS: dict[str, str] = {
    "unit": "not integration and not e2e",
    "integration": "integration",
    "e2e": "e2e",
}
#: Tiers that this machine cannot run, and why.
UNAVAILABLE = {"cluster": "it comes with the operator, see docs/roadmap.md"}


def run(tier: str) -> tuple[str, float, str]:
    """Runs one tier: `passed`, `skipped` or `FAILED`, its seconds, and a remark."""
    if tier in UNAVAILABLE:
        return "skipped", 0.0, UNAVAILABLE[tier]
    print(f"== {tier} tier", flush=True)
    start = time.monotonic()
    status = subprocess.run([*PYTEST, TIERS[tier]], check=False).returncode
    return ("FAILED" if status else "passed"), time.monotonic() - start, ""


def main() -> int:
    """Exit status 0 when no tier failed and no expected one was skipped."""
    every = [*TIERS, *UNAVAILABLE]
    parser = argparse.ArgumentParser(description="Run test tiers.")
    parser.add_argument("tiers", nargs="+", choices=every)
    parser.add_argument("--expect", default="", help="tiers that must not be skipped: a,b")
    arguments = parser.parse_args()
    expected = {tier for tier in arguments.expect.split(",") if tier}
    if unknown := expected - set(every):
        parser.error(f"--expect names unknown tiers: {', '.join(sorted(unknown))}")
    results = {tier: run(tier) for tier in arguments.tiers}
    print("== tiers")
    for tier, (word, seconds, remark) in results.items():
        print(f"{tier:<14}{word:<9}{seconds:7.1f} s  {remark}".rstrip())
    bad = [
        tier
        for tier, (word, _, _) in results.items()
        if word == "FAILED" or (word == "skipped" and tier in expected)
    ]
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
