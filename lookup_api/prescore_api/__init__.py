"""The lookup API: serve published predictions by key, straight from the catalog and the versions' tables."""
