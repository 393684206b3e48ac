"""Simulate confirmations and write `benchmarks/verdicts.md`.

`python -m benchmarks.verdicts` takes about half an hour on one core. Each row is kept in
`verdicts/rates.json` when it is finished, so the command can be stopped and started again.
`--again` starts from nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.verdicts.page import write_page
from benchmarks.verdicts.paths import NOISES, STEADY, Case, follow, follow_old

RATES = Path(__file__).with_name("rates.json")
CONFIRMATIONS = {1: 2_000, 5: 1_000}  # for each number of arms beside paired
MARGIN = 0.3  # of the sd of a run: 0.3 points where runs have an sd of one point


def cases() -> Iterator[tuple[str, Case]]:
    """Name and case of every row."""
    sds = {
        (1, "equal"): (1.0, 1.0),
        (1, "1:2"): (1.0, 2.0),
        (1, "2:1"): (2.0, 1.0),
        (5, "equal"): (1.0,) * 6,
        (5, "1:2"): (1.0, 1.0, 2.0, 2.0, 2.0, 2.0),
        (5, "1:4"): (2.0, 0.5, 1.0, 0.5, 2.0, 1.0),
    }
    for cap, noise, ((arms, spread), of_arm) in product((60, 200), NOISES, sds.items()):
        if noise == STEADY and spread != "equal":
            continue
        modules = 1 if arms == 1 else 2
        yield (
            f"null|{noise}|{arms}|{spread}|{cap}",
            Case(noise, of_arm, modules, (0.0,) * len(of_arm), 1.0, MARGIN, cap),
        )
    for effect, arms, (first, cap) in product(
        (1.0, 0.5), (1, 5), ((6, 6), (10, 10), (20, 20), (40, 40), (6, 60), (6, 200))
    ):
        # The noise of one arm at a correlation of 0.5 between the runs of one seed.
        truth = (0.0, effect) if arms == 1 else (0.0, 0.0, effect, 0.0, 0.0, 0.0)
        own = (0.5**0.5,) * len(truth)
        yield (
            f"power|{effect}|{arms}|{first}|{cap}",
            Case("normal", own, 1 if arms == 1 else 2, truth, 0.5**0.5, MARGIN, cap, first),
        )
    for (cap, margin), noise, ((arms, spread), of_arm) in product(
        ((60, 1.0), (200, 0.5)), NOISES, sds.items()
    ):
        if spread == "equal" or (spread == "1:2" and noise != STEADY):
            truth = (0.0, margin) if arms == 1 else (0.0, 0.0, margin, -margin, margin, -margin)
            yield (
                f"margin|{noise}|{arms}|{spread}|{cap}|{margin}",
                Case(noise, of_arm, 1 if arms == 1 else 2, truth, 1.0, margin, cap),
            )


def rates(name: str, case: Case) -> dict[str, Any]:
    """Shares of confirmations with a false verdict of each kind, or a true one, by both rules."""
    confirmations = CONFIRMATIONS[len(case.sds) - 1]
    rng = np.random.default_rng([ord(letter) for letter in name])
    false = {rule: {"better": 0, "worse": 0, "equivalent": 0, "any": 0} for rule in ("new", "old")}
    found = dict.fromkeys(false, 0)
    seeds: dict[str, list[int]] = {rule: [] for rule in false}
    looks: list[int] = []
    ahead = next(((str(a), "0") for a, true in enumerate(case.truth) if true > 0), None)
    for _ in range(confirmations):
        runs = case.runs(rng)
        paths = {"new": follow(case, runs), "old": follow_old(case, runs)}
        looks.append(paths["new"].looks)
        for rule, path in paths.items():
            kinds = {
                v for pair, given in path.verdicts.items() for v in given if case.is_false(pair, v)
            }
            for kind in kinds:
                false[rule][kind] += 1
            false[rule]["any"] += bool(kinds)
            found[rule] += ahead is not None and "better" in path.verdicts[ahead]
            seeds[rule].append(path.seeds)
    share = {
        rule: {kind: count / confirmations for kind, count in counts.items()}
        for rule, counts in false.items()
    }
    return {
        "name": name,
        "confirmations": confirmations,
        "false": share,
        "found": {rule: count / confirmations for rule, count in found.items()},
        "seeds": {rule: float(np.mean(all_of)) for rule, all_of in seeds.items()},
        "looks": float(np.mean(looks)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="Start from nothing.")
    again = parser.parse_args().again
    rows = json.loads(RATES.read_text()) if RATES.exists() and not again else []
    known = {row["name"] for row in rows}
    for name, case in cases():
        if name not in known:
            rows.append(rates(name, case))
            RATES.write_text(json.dumps(rows, indent=1) + "\n")
            print(name, rows[-1]["false"]["new"]["any"], rows[-1]["found"], flush=True)
    write_page(rows)


if __name__ == "__main__":
    main()
