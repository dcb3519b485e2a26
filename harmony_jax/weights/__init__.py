"""Every form in which weights lie on disk: checkpoints, PyTorch, safetensors, exports."""
