//! Thresholds that were measured on a machine, and kept in a file.

use std::env;
use std::path::Path;
use std::sync::OnceLock;

use super::{Payload, TransferPolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::json::{Document, Duplicates, Node, Number, Options};

/// Names the file that [`TransferPolicy::from_environment`] reads.
pub const POLICY_VARIABLE: &str = "MCPGATEWAY_RUST_TRANSFER_POLICY";

/// No file of thresholds is longer.
const MOST_BYTES: u64 = 1 << 20;

impl TransferPolicy {
    /// The thresholds in the file at `path`: a JSON object with `copy_below` and `map_above`, in bytes, and
    /// whatever else there is. `mcpgateway-rust calibrate` writes such a file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] when that is not what is in it, [`ErrorKind::File`] when it cannot be read,
    /// [`ErrorKind::Denied`] when it is no regular file.
    pub fn load(path: &Path) -> Result<Self> {
        Self::read(path).map_err(|error| error.within(&format!("transfer policy {}", path.display())))
    }

    /// The thresholds in the file that the environment variable [`POLICY_VARIABLE`] names, else the defaults.
    /// The file is read once in the life of a process.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn from_environment() -> Result<Self> {
        static POLICY: OnceLock<TransferPolicy> = OnceLock::new();
        if let Some(policy) = POLICY.get() {
            return Ok(*policy);
        }
        let policy = match env::var_os(POLICY_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Self::load(Path::new(&path)).map_err(|error| error.within(POLICY_VARIABLE))?,
            None => Self::default(),
        };
        Ok(*POLICY.get_or_init(|| policy))
    }

    fn read(path: &Path) -> Result<Self> {
        let len = path.metadata().map_or(0, |facts| facts.len());
        if len > MOST_BYTES {
            return Err(damaged(format!(
                "{len} bytes are no file of thresholds; run `mcpgateway-rust calibrate`"
            )));
        }
        let text = Payload::read(path, true)?.into_bytes()?;
        let options = Options { duplicates: Duplicates::Refuse, ..Options::default() };
        let document = Document::parse(text, &options).map_err(|error| {
            damaged("the file is damaged; run `mcpgateway-rust calibrate`").with_source(error)
        })?;
        let root = document.root();
        Ok(Self { copy_below: threshold(&root, "copy_below")?, map_above: threshold(&root, "map_above")? })
    }
}

fn threshold(root: &Node, name: &str) -> Result<usize> {
    let value = root.get(name);
    let bytes = match value.as_ref().and_then(Node::number) {
        Some(Number::Signed(bytes)) => usize::try_from(bytes).ok(),
        Some(Number::Unsigned(bytes)) => usize::try_from(bytes).ok(),
        _ => None,
    };
    bytes.ok_or_else(|| damaged(format!("{name} is not there as a whole number of bytes, 0 or more")))
}

fn damaged(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::payload::{Origin, Transfer};

    fn loaded(text: &[u8]) -> Result<TransferPolicy> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text).expect("written");
        TransferPolicy::load(file.path())
    }

    #[test]
    fn a_file_changes_what_is_decided() {
        let policy =
            loaded(br#"{"copy_below": 1048576, "map_above": 4096, "measured": {}}"#).expect("thresholds");
        assert_eq!(policy, TransferPolicy { copy_below: 1 << 20, map_above: 4096 });
        let decided = |policy: TransferPolicy| {
            [policy.decide(1 << 17, Origin::Buffer), policy.decide(1 << 17, Origin::Reply)]
                .map(|decision| decision.transfer)
        };
        assert_eq!(decided(TransferPolicy::default()), [Transfer::Borrow, Transfer::Copy]);
        assert_eq!(decided(policy), [Transfer::Copy, Transfer::Map]);
    }

    #[test]
    fn a_damaged_file_is_told_from_a_missing_one() {
        for text in [
            &b""[..],
            br#"{"copy_below": 1"#,
            br#"{"copy_below": 1}"#,
            br#"{"copy_below": -1, "map_above": 1}"#,
            br#"{"copy_below": 1.5, "map_above": 1}"#,
            br#"{"copy_below": 1, "map_above": 99999999999999999999}"#,
            br#"{"copy_below": 1, "copy_below": 2, "map_above": 1}"#,
            br"[1, 2]",
        ] {
            let error = loaded(text).expect_err("damaged");
            assert_eq!(*error.kind(), ErrorKind::InvalidOption, "{}", String::from_utf8_lossy(text));
        }
        let missing = TransferPolicy::load(Path::new("/nowhere/policy.json")).expect_err("missing");
        assert_eq!(*missing.kind(), ErrorKind::File);
    }
}
