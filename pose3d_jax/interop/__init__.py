"""Networks from and for other programs: PyTorch's files, StableHLO and ONNX."""
