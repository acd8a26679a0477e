"""The files that users write: prescore.toml, specs, and the templates of `prescore init`."""
