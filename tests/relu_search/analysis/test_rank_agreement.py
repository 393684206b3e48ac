"""The rank correlation of a supernet, against scipy."""

from __future__ import annotations

import pandas as pd
from scipy import stats

from relu_search.analysis.rank_agreement import supernet_agreement
from relu_search.settings.metrics import METRICS

LOSS, ACCURACY = METRICS["val_loss"], METRICS["val_accuracy"]


def test_tau_is_that_of_the_shared_placements():
    trials = pd.DataFrame({"placement": list("abcdea"), "val_loss": [1.0, 2, 3, 4, 5, 1.5]})
    ranking = pd.DataFrame({"placement": list("edcbax"), "val_loss": [4.0, 5, 2, 3, 1, 0]})
    line = supernet_agreement(trials, ranking, LOSS)
    expected = stats.kendalltau([1.25, 2, 3, 4, 5], [1, 3, 2, 5, 4]).statistic
    assert f"{expected:.2f} (n = 5" in line
    assert "too few" in supernet_agreement(trials[:2], ranking, LOSS)
