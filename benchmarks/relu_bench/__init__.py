"""ReLU-Bench: every ReLU placement of small networks, trained and measured once for all."""

from benchmarks.relu_bench.specs import METRICS, SPECS, TableSpec
from benchmarks.relu_bench.synthetic import SyntheticTable, load_synthetic
from benchmarks.relu_bench.table import Table, load, query

__all__ = [
    "METRICS",
    "SPECS",
    "SyntheticTable",
    "Table",
    "TableSpec",
    "load",
    "load_synthetic",
    "query",
]
