from own_modules import here

__all__ = ["here"]
