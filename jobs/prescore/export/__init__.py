"""From a fitted estimator to an ONNX file that is proven to compute the same, and its examples."""
