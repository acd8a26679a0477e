"""Keys and answers as JSON and as Arrow."""
