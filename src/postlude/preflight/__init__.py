"""Looking at a run before it is started: rows, template, trained tokens, reward, signal, step 0, memory, disk, time."""
