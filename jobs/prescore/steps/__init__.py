"""The steps of a run: snapshot, score, stage, check, publish.

Each knows its own work and none of the others. `prescore.run.materialize` composes them.
"""
