"""What a request means and whether it may happen: pure functions over values. No async, no I/O, no clock."""
