"""From data, a model, hardware and a goal to a method, its reasons and a recipe.

`reading` makes evidence of files, `asking` of a model's answers; all that decides
(`routes`, `stops`, `cautions`, `settings`) are tables of pure functions of that evidence.
"""
