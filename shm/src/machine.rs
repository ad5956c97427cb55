//! What this machine, or the container around this process, has to give.

use std::fs;
use std::path::{Path, PathBuf};

/// Where Linux mounts its control groups.
const CGROUPS: &str = "/sys/fs/cgroup";
/// A budget where nothing is known about the machine.
const UNKNOWN: u64 = 1 << 30;

/// Bytes of memory that this process may hope for: the smallest limit of its control groups, or what
/// is installed.
pub(crate) fn memory_limit() -> Option<u64> {
    control_groups().into_iter().filter_map(|group| group.limit()).chain(meminfo("MemTotal:")).min()
}

/// Bytes of memory that are free now, within the limits of the control groups.
fn memory_free() -> Option<u64> {
    control_groups().into_iter().filter_map(|group| group.free()).chain(meminfo("MemAvailable:")).min()
}

/// The default budget for memory: a quarter of the limit, or half of what is free, whichever is less.
#[must_use]
pub fn default_memory_budget() -> u64 {
    let quarter = memory_limit().map(|limit| limit / 4);
    let half = memory_free().map(|free| free / 2);
    quarter.into_iter().chain(half).min().unwrap_or(UNKNOWN)
}

/// One control group of this process, in either version of the interface.
struct ControlGroup {
    directory: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

impl ControlGroup {
    fn limit(&self) -> Option<u64> {
        // `max`, where there is no limit, is no number; version 1 says a number close to 2^63.
        self.number(self.limit).filter(|limit| *limit < 1 << 60)
    }

    /// The limit less what is used; file pages that lie idle do not count as used.
    fn free(&self) -> Option<u64> {
        let used = self.number(self.usage)?.saturating_sub(self.idle_file_pages().unwrap_or(0));
        Some(self.limit()?.saturating_sub(used))
    }

    fn idle_file_pages(&self) -> Option<u64> {
        let text = fs::read_to_string(self.directory.join("memory.stat")).ok()?;
        let named = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
        };
        named("total_inactive_file").or_else(|| named("inactive_file"))
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }
}

/// The memory groups of this process, up to the root: each of them limits it.
fn control_groups() -> Vec<ControlGroup> {
    let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    lines.lines().filter_map(memory_group).flat_map(|(root, path, v2)| ancestors(&root, &path, v2)).collect()
}

/// Root, path and whether it is version 2, if a line of `/proc/self/cgroup` is about memory.
fn memory_group(line: &str) -> Option<(PathBuf, String, bool)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let v2 = controllers.is_empty();
    let v1 = controllers.split(',').any(|controller| controller == "memory");
    let root = if v2 { PathBuf::from(CGROUPS) } else { Path::new(CGROUPS).join("memory") };
    (v1 || v2).then(|| (root, path.to_owned(), v2))
}

fn ancestors(root: &Path, path: &str, v2: bool) -> Vec<ControlGroup> {
    let (limit, usage) = if v2 {
        ("memory.max", "memory.current")
    } else {
        ("memory.limit_in_bytes", "memory.usage_in_bytes")
    };
    // A container may see its own group at the root of the mount: then the longer paths do not exist.
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .map(|below| ControlGroup { directory: root.join(below), limit, usage })
        .collect()
}

fn meminfo(name: &str) -> Option<u64> {
    parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

fn parse_meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

// Miri has no locks of files, no private directories and no descriptors to pass.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let text = "MemTotal:       24578964 kB\nMemFree: 1 kB\n";
        assert_eq!(parse_meminfo(text, "MemTotal:"), Some(24_578_964 << 10));
        assert_eq!(parse_meminfo("nothing", "MemTotal:"), None);
    }

    #[test]
    fn both_versions_of_control_groups_are_understood() {
        assert_eq!(memory_group("0::/a/b"), Some((CGROUPS.into(), "/a/b".into(), true)));
        assert_eq!(
            memory_group("4:cpu,memory:/a:b"),
            Some((Path::new(CGROUPS).join("memory"), "/a:b".into(), false))
        );
        assert_eq!(memory_group("9:name=systemd:/"), None);
        assert_eq!(memory_group("garbage"), None);
        let directories: Vec<_> =
            ancestors(Path::new("/g"), "/a/b", true).into_iter().map(|group| group.directory).collect();
        assert_eq!(directories, ["/g/a/b", "/g/a", "/g/"].map(PathBuf::from));
    }

    #[test]
    fn a_group_says_what_is_left_of_its_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
        write("memory.max", "1000\n");
        write("memory.current", "700\n");
        write("memory.stat", "anon 1\ninactive_file 200\n");
        let group = ControlGroup {
            directory: directory.path().to_owned(),
            limit: "memory.max",
            usage: "memory.current",
        };
        assert_eq!((group.limit(), group.free()), (Some(1000), Some(500)));
        write("memory.max", "max\n");
        assert_eq!((group.limit(), group.free()), (None, None));
    }
}
