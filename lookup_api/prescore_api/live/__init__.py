"""Live answers: the model files of published versions, scored on request. Needs the extra `live`."""
