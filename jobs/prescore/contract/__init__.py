"""What writers and readers share: the spec, the catalog, the errors, the queries. It imports nothing else of ours."""
