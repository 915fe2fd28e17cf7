"""vLLM servers as the policy: asking them, keeping them up, giving them weights. Neither vllm nor ray is imported."""
