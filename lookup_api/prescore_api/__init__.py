"""The lookup API: published predictions by key, over HTTP, out of the catalog and the versions' tables."""
