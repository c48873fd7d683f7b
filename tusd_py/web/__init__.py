"""The aiohttp edge: the only HTTP."""
