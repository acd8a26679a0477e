"""The life of a version: lease, table, parent, view, pointer, rollback, retention."""
