"""`prescore doctor`: what is wrong with the server, the catalog, the models and the store, and what to do about it."""
