"""The catalog in Postgres, shared by writers and readers: connections, migrations, queries, types, keys, lookups."""
