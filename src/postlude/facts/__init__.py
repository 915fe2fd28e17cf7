"""What is known and nothing computes: tables of judgement, in the project's own words.

Plain data that needs neither torch nor pydantic. `explain/` is the index over these tables and over those that live
where they are used (figures, codes, keys, rules); documents are generated from both.
"""
