"""`python -m foldline_cli`, the same as `foldline`."""

from foldline_cli.main import main

main()
