"""Flags and printing."""

from relu_search.cli.app import main as main
