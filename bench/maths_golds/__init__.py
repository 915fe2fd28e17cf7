"""Right answers of test sets against the maths reward: each equal to itself and to its other spellings alone?"""
