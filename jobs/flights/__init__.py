"""The flight example: departures from New York in 2013, a model of late arrivals, and two broken models."""
