"""The API of the private port: its resources, a file each, and its description made from them."""
