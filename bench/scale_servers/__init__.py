"""vLLM servers as the sampler, measured: are log-probs exact, does it learn as without, and what do failures leave."""
