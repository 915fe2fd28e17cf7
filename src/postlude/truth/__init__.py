"""What tells whether a run gets better, by something that it is not trained on."""
