"""Plugins that come with tusd-py, installed as tusd_py.plugins."""
