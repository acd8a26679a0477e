"""Live answers: the model files of published versions, scored on request in a process of their own.

Needs the extra `live`. `scoring` is what a server uses. `worker` is the other process, with `scored_model` and
`loading`.
"""
