"""Sources of domains: Parquet and CSV files through DuckDB, and databases through SQLAlchemy."""
