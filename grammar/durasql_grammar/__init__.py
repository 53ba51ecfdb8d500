"""The workflow grammar, shipped as a package so that it travels in the wheel."""
