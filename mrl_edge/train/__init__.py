"""Training an encoder as a Matryoshka model; the only part of the package that uses torch."""
