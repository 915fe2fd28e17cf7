"""Unmodified Hugging Face models on one machine: packed training, shared-prompt decoding, CPU and CUDA."""
