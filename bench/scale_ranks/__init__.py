"""`make scale-ranks`: several trainers against one process, and against everything that may kill one of them."""
