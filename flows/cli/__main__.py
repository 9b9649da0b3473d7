"""`python -m flows.cli` is `nightshift`."""

from flows.cli import main

main()
