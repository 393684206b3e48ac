"""What a search takes from an earlier run: placements to try first, and data of its model.

They are kept in `earlier.csv`, so that a search that is resumed needs the earlier run no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from relu_search.analysis.estimates import full_length
from relu_search.analysis.leaderboard import admitted, ranked, rows_of
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.record import WEIGHTS
from relu_search.run_folder.tables import read_table, write_table
from relu_search.samplers.choice_space import ChoiceSpace
from relu_search.samplers.study_arrays import Prior
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_options import COARSE_TO_FINE
from relu_search.transfer.carry_over import carried_over
from search_spaces import InputError, Placement, SearchSpace

TABLE = "earlier.csv"
TRIED_FIRST = 5
"""Best placements of the earlier run that are tried first: a choice, see benchmarks/transfer.md."""
_FIRST, _DATA = "tried first", "data of the model"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What is taken from an earlier run.

    Attributes:
        rows: of `earlier.csv`.
        sentence: what was taken, for the summary; empty if it is read from the table.
    """

    rows: list[dict[str, Any]]
    sentence: str = ""

    @property
    def first(self) -> list[Placement]:
        """Placements to try first, the best one first."""
        return [Placement.parse(row["placement"]) for row in self.rows if row["use"] == _FIRST]

    def repeats(self, seed: int) -> Counter[str]:
        """How often the earlier run has trained a placement with this seed of a search."""
        return Counter(
            row["placement"]
            for row in self.rows
            if row["use"] == _DATA and row["search_seed"] == seed
        )

    def prior(self, config: ResolvedConfig, space: SearchSpace) -> Prior | None:
        """The earlier trials as data of the model; None: there are none."""
        points_of, metric = ChoiceSpace.of(space), config.optimised
        points, values = [], []
        for row in self.rows:
            params = space.encode(Placement.parse(row["placement"]))
            if row["use"] == _DATA and params is not None:
                points.append(points_of.point_of(params))
                values.append(row[metric.name])
        if not points:
            return None
        found = np.array(values, dtype=np.float64)
        if metric.log and (found > 0).all():
            found = np.log(found)
        return Prior(points=np.array(points, dtype=np.int64), scores=metric.sign * found)

    def write(self, run: RunFolder) -> None:
        """Write `earlier.csv`."""
        write_table(run.table(TABLE), self.rows)

    @classmethod
    def read(cls, run: RunFolder) -> Transfer:
        """What `write` has written; nothing, if there is no such table.

        Raises:
            InputError: the table is damaged.
        """
        file = run.table(TABLE)
        return cls(rows=rows_of(read_table(file)) if file.is_file() else [])


def transfer_from(config: ResolvedConfig, data: Mapping[str, Any], space: SearchSpace) -> Transfer:
    """What a new search takes from the run of its option `earlier`; nothing if it has none.

    Args:
        config: of the new search, with its weights read.
        data: `data_facts` of the new search.
        space: of the new search.

    Raises:
        InputError: no run folder, a damaged one, or one without a full-length trial.
    """
    if config.earlier is None:
        return Transfer(rows=[])
    run = RunFolder.open(config.earlier)
    before, record = run.read_config()
    trials = run.read_some_trials(before.network)
    whole = full_length(trials, config.optimised)
    if whole.empty:
        raise InputError(f"{run.path} has no trial of full length yet; let that search run longer")
    same = before.network.to_json() == config.network.to_json()
    order = ranked(whole, before.optimised).drop_duplicates("placement")
    first = list(_first(rows_of(admitted(order, before)), before, space, same=same))
    rows = [{"placement": placement.text, "use": _FIRST} for placement in first]
    what = f"patterns of {before.network.label}, on {before.data}, by relative depth"
    taken = "its trials are no data of the model, as its network is another one"
    if same:
        what = "best placements"
        differs = _differences(config, data, before, record)
        taken = f"its trials are no data of the model, as it had another {' and '.join(differs)}"
        if not differs and not _has_model(config):
            taken = "its trials are no data of a model, which only gp has, for a single metric"
        elif not differs:
            taken = f"its {len(whole)} full-length trials, trained the same way, are data of the"
            taken += " model"
            rows += [
                {name: row[name] for name in ("placement", "val_accuracy", "val_loss")}
                | {"use": _DATA, "search_seed": before.seed}
                for row in rows_of(whole)
            ]
    begin = f"From {run.path}: {len(first)} {what}, tried first"
    return Transfer(rows=rows, sentence=f"{begin}; {taken}.")


def _first(
    rows: list[dict[str, Any]], before: ResolvedConfig, space: SearchSpace, *, same: bool
) -> Iterator[Placement]:
    """The best found placements of the earlier run that the space admits, each once."""
    known: set[Placement] = set()
    for row in rows:
        if row["module"] or len(known) == TRIED_FIRST:
            continue
        placement = Placement.parse(row["placement"])
        if not same:
            placement = carried_over(placement, before.network, space)
        elif space.encode(placement) is None:
            continue
        canonical = space.canonical(placement)
        if space.admits(placement) and canonical not in known:
            known.add(canonical)
            yield placement


def _has_model(config: ResolvedConfig) -> bool:
    return config.proposed_by in ("gp", COARSE_TO_FINE) and not config.costs


def _differences(
    config: ResolvedConfig,
    data: Mapping[str, Any],
    before: ResolvedConfig,
    record: Mapping[str, Any],
) -> list[str]:
    """What of the training differs from that of the earlier run, in words.

    The seed of a search, and with it the split, may differ: then the trainings are other draws of
    the same.
    """
    start = None if config.start is None else config.start.digest
    facts = ("train_images", "validation_images", "image_size", "in_channels", "classes")
    is_same_split = record["data"]["split_digest"] == data["split_digest"]
    is_same_data = (is_same_split or before.data == config.data) and all(
        record["data"][name] == data[name] for name in facts
    )
    pairs: dict[str, tuple[Any, Any]] = {
        "recipe": (before.training_recipe, config.training_recipe),
        "activation": (before.activation, config.activation),
        "augmentation": (before.augment, config.augment),
        "start": (
            (record.get(WEIGHTS), before.start_text if before.weights else ""),
            (start, config.start_text if config.weights else ""),
        ),
        "back end": (before.back_end, config.back_end),
    }
    differs = [] if is_same_data else ["data set"]
    return differs + [name for name, (one, other) in pairs.items() if one != other]
