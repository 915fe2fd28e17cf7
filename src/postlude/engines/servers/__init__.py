"""vLLM servers as the policy."""
