//! Payloads that lie in a spool, and handing them to other processes.

use std::path::Path;

use bytes::Bytes;
use mcpgateway_shm::{FileRules, PayloadRef, Region, ShareOptions, Spool, Tier};

use super::budget::shared_spool;
use super::{Decision, Payload, Transfer};
use crate::error::Result;

impl Payload {
    /// Put the bytes of `source` into `spool`: one copy, of a frame at a time.
    ///
    /// # Errors
    /// [`BudgetExceeded`](crate::ErrorKind::BudgetExceeded) when neither memory nor disk have room in their
    /// budgets, [`File`](crate::ErrorKind::File) when the system has none.
    pub fn spool(source: Self, spool: &Spool) -> Result<Self> {
        let region = spool.put_frames(Some(source.len()), frames(source))?;
        Ok(Self::spooled(region, spool))
    }

    /// The body that `region` of `spool` is.
    #[must_use]
    pub fn spooled(region: Region, spool: &Spool) -> Self {
        let (transfer, why) = match region.tier() {
            Tier::Memory => {
                (Transfer::Map, "spooled into a sealed memory file, which other processes can map")
            }
            Tier::File => (Transfer::Map, "spooled into a private file, which other processes can map"),
            Tier::Foreign => (Transfer::Map, "file, mapped: the caller trusts it not to change"),
            _ => (Transfer::Copy, "spooled in the memory of this process, below map_above"),
        };
        let decision = Decision::because(transfer, region.len() as u64, why);
        Self { spool: Some(spool.clone()), ..Self::in_region(region, decision) }
    }

    /// The body that another worker, or this one, shares as `reference`: the same pages.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied) for a reference that is another tenant's or was not signed by
    /// the spool, [`PayloadGone`](crate::ErrorKind::PayloadGone) for one that has expired or was revoked or
    /// whose worker is gone.
    pub fn open(reference: &PayloadRef, spool: &Spool) -> Result<Self> {
        let region = spool.open(reference)?;
        Ok(Self { spool: Some(spool.clone()), ..Self::opened(region) })
    }

    /// As [`open`](Self::open), without a spool of one's own; `None` is the default directory.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and [`File`](crate::ErrorKind::File) for a directory that cannot be
    /// used.
    pub fn open_in(reference: &PayloadRef, directory: Option<&Path>, tenant: &str) -> Result<Self> {
        Ok(Self::opened(mcpgateway_shm::open(reference, directory, tenant)?))
    }

    /// The contents of the file at `path`, by default a copy in `spool`, or the same blocks where the file
    /// system can share them.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied) for what is no regular file, or a link; else those of
    /// [`spool`](Self::spool).
    pub fn open_file(path: &Path, rules: FileRules, spool: &Spool) -> Result<Self> {
        Ok(Self::spooled(spool.open_file(path, rules)?, spool))
    }

    /// A reference with which other processes can open this payload until it expires; in `spool`, else in
    /// the one it lies in, else in one of this process.
    ///
    /// What lies in a spool already is not copied; any other payload is, once.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) for a time or content type that cannot be; else
    /// those of [`spool`](Self::spool).
    pub fn share(&self, spool: Option<&Spool>, options: &ShareOptions) -> Result<PayloadRef> {
        let spool = match spool.or(self.spool.as_ref()) {
            Some(spool) => spool.clone(),
            None => shared_spool()?,
        };
        let region = match &self.region {
            Some(region) => region.clone(),
            None => spool.put_frames(Some(self.len), frames(self.clone()))?,
        };
        Ok(spool.share(&region, options)?)
    }

    fn opened(region: Region) -> Self {
        let why = "shared by a worker: mapped, the same pages as its own";
        let decision = Decision::because(Transfer::Map, region.len() as u64, why);
        Self::in_region(region, decision)
    }

    pub(super) fn in_region(region: Region, decision: Decision) -> Self {
        Self { region: Some(region.clone()), ..Self::new(region.into(), decision) }
    }
}

fn frames(source: Payload) -> impl Iterator<Item = Bytes> {
    source.into_frames().inspect(|_| crate::fault::point("spool::frame"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mcpgateway_shm::SpoolOptions;

    use super::*;

    fn spool(directory: &Path) -> Spool {
        let directory = Some(directory.join("spool"));
        Spool::new(SpoolOptions { directory, map_above: 1 << 10, ..SpoolOptions::default() })
            .expect("a spool")
    }

    #[test]
    fn a_spooled_payload_is_shared_where_it_lies_and_any_other_is_copied_once() {
        let outer = tempfile::tempdir().expect("a directory");
        let spool = spool(outer.path());
        let options = ShareOptions::new(Duration::from_secs(60));
        let spooled = Payload::spool(vec![7; 1 << 20].into(), &spool).expect("room");
        let used = spool.stats().expect("read").used.memory;
        let reference = spooled.share(None, &options).expect("shared");
        assert_eq!(spool.stats().expect("read").used.memory, used);
        assert_eq!(Payload::open(&reference, &spool).expect("there"), spooled);
        let pooled = Payload::join([Payload::from("a"), spooled.clone()]);
        let reference = pooled.share(Some(&spool), &options).expect("shared");
        assert_eq!(spool.stats().expect("read").used.memory, 2 * used + 1);
        assert_eq!(Payload::open_in(&reference, Some(spool.directory()), "default").expect("there"), pooled);
    }
}
