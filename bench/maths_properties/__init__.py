"""Random values against the maths reward: equal however they are written, and to no value beside them."""
