//! What the benches share: the sizes of payloads they all use.

/// The table of the Python sweep, in bytes.
#[expect(clippy::unreadable_literal, reason = "JSON has no other")]
const TABLE: [usize; 11] = include!("../../python/mcpgateway_rust/sweep/sizes.json");

/// Names and lengths in bytes, from a small call to a large document; all of them are in the sweep's table.
pub const SIZES: [(&str, usize); 5] =
    [("1KiB", 1 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20), ("16MiB", 16 << 20), ("64MiB", 64 << 20)];

/// For what should not depend on the size.
pub const LARGE_SIZES: [(&str, usize); 2] = [("1GiB", 1 << 30), ("4GiB", 4 << 30)];

const fn is_in_the_table(len: usize) -> bool {
    let mut row = 0;
    while row < TABLE.len() {
        if TABLE[row] == len {
            return true;
        }
        row += 1;
    }
    false
}

const _: () = {
    let mut row = 0;
    while row < SIZES.len() {
        assert!(is_in_the_table(SIZES[row].1), "this size is not in python/mcpgateway_rust/sweep/sizes.json");
        row += 1;
    }
};
