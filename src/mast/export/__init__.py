"""A trained team leaves the lab: C, ONNX and safetensors, each checked before it is written."""
