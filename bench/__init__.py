"""`python -m bench` compares this server with its peers, side by side, on one machine."""
