"""The store: snapshots and model files, in a folder or in an object store."""
