"""The project's version, for modules that must not import the whole interface."""

__version__ = "0.1.0"
