"""Where domains are read from: DuckDB over files, or any database that SQLAlchemy reaches."""
