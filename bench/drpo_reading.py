"""What the page of the DRPO study says in words."""

HEAD = "# DRPO\n"
READING = "x"
