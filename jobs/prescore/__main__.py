"""Run the command as `python -m prescore`: with a known interpreter, where the script is not on the path."""

from prescore.cli.main import main

main()
