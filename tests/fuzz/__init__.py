"""Every reader of what others wrote, under hostile input: `hostile` and `inputs` make it, `pool` tries it."""
