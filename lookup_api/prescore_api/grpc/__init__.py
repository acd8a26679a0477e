"""The Open Inference Protocol over gRPC. It needs the extra `oip`."""
