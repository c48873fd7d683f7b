"""The edges over real sockets, with the real service behind them."""
