"""Running the server: what an operator does to it and sees of it, over the real process."""
