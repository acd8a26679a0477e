"""The Open Inference Protocol v2 without a transport: its tensors, and tables of predictions as its models."""
