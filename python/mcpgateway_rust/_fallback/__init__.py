"""Plain Python for where the native module cannot be imported: the same results, not the same speed."""
