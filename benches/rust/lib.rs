//! What the benches share: the sizes of payloads they all use.

/// Names and lengths in bytes, from a small call to a large document.
pub const SIZES: [(&str, usize); 5] =
    [("1KiB", 1 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20), ("16MiB", 16 << 20), ("64MiB", 64 << 20)];

/// For what should not depend on the size.
pub const LARGE_SIZES: [(&str, usize); 2] = [("1GiB", 1 << 30), ("4GiB", 4 << 30)];
