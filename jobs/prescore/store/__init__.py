"""Where snapshots and model files are kept: a folder, or an object store."""
