"""snapshot, score, stage, check, publish: each knows its own work and none of the others; the flow composes them."""
