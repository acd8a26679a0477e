"""A spec and a domain query that are drafted from a model file and its data: `prescore init --model --data --key`."""
