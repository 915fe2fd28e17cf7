"""(prompt, completion) -> score: user functions, built-ins, shaping, and how several become one reward."""
