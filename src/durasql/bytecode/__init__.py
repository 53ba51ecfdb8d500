"""Stage 4: the bytecode, the contract between the compiler and the interpreter."""
