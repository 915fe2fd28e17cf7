"""Whether two mathematical answers are equal: exact first, computer algebra in processes that can be killed second.

extract   where the answer stands          normalise, tokens, grammar   text -> expression tree
reading   text -> value                    polynomials, ratios, roots, functions, evaluate   tree -> exact value
compare   value, value -> equal or not     prefilter, workers, worker, symbolic   what needs algebra
verify    all of it -> a verdict           reward   the reward function
"""
