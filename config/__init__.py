"""The manual of the configuration, tusd.toml, installed as tusd_py.manual."""
