"""What the page of the DRPO study says in words."""

HEAD = ""
READING = ""
