"""Several methods or settings on one task, with equal budgets, seeds, prompts and held-out answers: who is better, and
whether that can be told. Each arm and seed is an ordinary run in the comparison's folder."""
