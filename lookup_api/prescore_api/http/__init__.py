"""The HTTP server: connections, routes, requests and responses."""
