"""`python -m relu_search.cli` is `relu-search`."""

from relu_search.cli import main

main()
