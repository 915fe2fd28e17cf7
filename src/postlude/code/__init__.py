"""The reward `code`: programs that a model wrote, run in a sandbox against tests.

`program` finds the program in an answer, `cases` and `asserts` read the tests, `grade` runs one against the other in a
`sandbox.Worker`, `compare` judges what came out, `reward` is the function a recipe names. What is expected never enters
the process of the program.
"""
