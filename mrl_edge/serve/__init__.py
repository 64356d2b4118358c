"""A bundle behind HTTP on one machine: embed, search, classify, and what OpenAI's clients ask for."""
