"""What users write: prescore.toml, specs, and the files that `prescore init` creates."""
