"""The lookup service: everything the API does that does not depend on a transport."""
