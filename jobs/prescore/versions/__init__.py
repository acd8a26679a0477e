"""The life of a version: lease, table, partitions, view, pointer, rollback, retention."""
