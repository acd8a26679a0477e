"""Scoring with ONNX Runtime: type conversion, predictions, and rejected rows."""
