"""From a command's overrides to runs that are done."""
