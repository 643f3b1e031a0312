"""`python -m lurker` is `lurker`."""

from lurker.cli import main

main()
