"""The public Python API: what `import prescore` offers, and what the command line is a thin layer over."""
