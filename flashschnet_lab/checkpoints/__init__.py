"""Model files: our own folders of safetensors and JSON."""
