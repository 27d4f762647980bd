"""Lets `python -m foldline_local` run the commands without the command line installed."""

from foldline_local.main import main

main()
