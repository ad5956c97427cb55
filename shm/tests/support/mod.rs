//! What the tests of spools share.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;
/// Whether there are sealed memory files; else what is shared goes to disk.
pub const MEMORY_FILES: bool = cfg!(not(mcpgateway_portable));
pub const MINUTE: Duration = Duration::from_secs(60);

/// Whether these are the long runs, of `make soak`.
pub fn is_soak() -> bool {
    std::env::var_os("MCPGATEWAY_SOAK").is_some()
}

/// A directory that spools accept: nobody else may look into it.
pub fn private_directory() -> TempDir {
    let private = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().expect("a directory")
}

/// Bytes of a pattern that no power of two repeats.
pub fn bytes(len: u64) -> Vec<u8> {
    let pattern: Vec<u8> = (0..251_u8).map(|at| at.wrapping_mul(31)).collect();
    let len = usize::try_from(len).expect("a size");
    let mut bytes = pattern.repeat(len / pattern.len() + 1);
    bytes.truncate(len);
    bytes
}
