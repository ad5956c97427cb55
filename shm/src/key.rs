//! The key of a spool directory: who can read it may sign and open references.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;

use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sha2::Sha256;

use crate::Result;
use crate::directory::{Directory, name};
use crate::id::random_bytes;
use crate::ledger::Ledger;

/// Bytes of a key, and of a signature.
pub(crate) const LENGTH: usize = 32;

/// An HMAC-SHA256 key, with its two blocks hashed already.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    /// The key of `directory`, made by whoever comes first.
    pub(crate) fn load(directory: &Directory) -> Result<Self> {
        let mut ledger = Ledger::open(directory)?;
        // Under the lock, two workers cannot both make one.
        let _locked = ledger.lock(directory)?;
        let bytes = match read(directory) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => create(directory)?,
            // Not a reason to make another: it would void every reference there is.
            Err(cause) => return Err(directory.error("reading its key", cause)),
        };
        Ok(Self::new(&bytes))
    }

    pub(crate) fn new(bytes: &[u8; LENGTH]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    /// The signature of `text`.
    pub(crate) fn sign(&self, text: &[u8]) -> [u8; LENGTH] {
        self.0.clone().chain_update(text).finalize().into_bytes().into()
    }

    /// Whether `signature` is that of `text`; takes as long whichever byte differs.
    pub(crate) fn verify(&self, text: &[u8], signature: &[u8; LENGTH]) -> bool {
        self.0.clone().chain_update(text).verify_slice(signature).is_ok()
    }
}

/// What the file holds; `None` if there is none, or no key that only we can read.
fn read(directory: &Directory) -> io::Result<Option<[u8; LENGTH]>> {
    let file = match directory.open_file(name::KEY, OFlags::RDONLY) {
        Err(cause) if is_no_key(&cause) => return Ok(None),
        opened => opened?,
    };
    let mut bytes = [0; LENGTH + 1];
    let len = file.read_at(&mut bytes, 0)?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    let private = !mode.intersects(Mode::RWXG | Mode::RWXO);
    Ok((private && len == LENGTH).then(|| bytes[..LENGTH].try_into().expect("as long as a key")))
}

/// Whether there is nothing, a link, a socket, or what is not a file of ours.
fn is_no_key(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        || matches!(Errno::from_io_error(cause), Some(Errno::LOOP | Errno::NXIO))
}

/// A new key in the place of a missing or damaged one, whose references are void then.
fn create(directory: &Directory) -> Result<[u8; LENGTH]> {
    let bytes = random_bytes()?;
    let failed = |cause: io::Error| directory.error("writing its key", cause);
    let partial = directory.create_partial()?;
    crate::sys::check_file_size(LENGTH as u64).map_err(failed)?;
    partial.file().write_all_at(&bytes, 0).map_err(failed)?;
    partial.keep_as(name::KEY).map_err(failed)?;
    Ok(bytes)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

// Miri has no locks of files, no private directories and no descriptors to pass.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_has_one_key_until_it_is_damaged() {
        let outer = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(Some(&outer.path().join("spool"))).expect("private");
        let signature = Key::load(&directory).expect("made").sign(b"text");
        assert!(Key::load(&directory).expect("read").verify(b"text", &signature));
        assert!(!Key::load(&directory).expect("read").verify(b"test", &signature));
        let path = outer.path().join("spool").join(name::KEY);
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "short").expect("ours");
        assert!(!Key::load(&directory).expect("made anew").verify(b"text", &signature));
    }

    #[test]
    fn the_signature_is_hmac_sha256() {
        // RFC 4231, test case 2, whose key is short.
        let key = Key(Hmac::new_from_slice(b"Jefe").expect("any length"));
        let signature = key.sign(b"what do ya want for nothing?");
        assert_eq!(signature[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(signature[28..], [0x64, 0xec, 0x38, 0x43]);
    }
}
