"""The figures of the pages: small SVGs that stand in the page itself, each with its text and the data behind it."""
