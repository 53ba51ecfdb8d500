"""The interpreter: claims instances, executes their programs, journals every instruction."""
