"""AI feedback: questions to a judge, its verdicts, and rewards, labels and principles made of them."""
