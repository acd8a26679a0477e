"""The `prescore` command line."""
