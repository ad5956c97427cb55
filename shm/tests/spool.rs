//! A spool in one process: tiers, budgets, sharing, files of others.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use mcpgateway_shm::{
    Error, ErrorKind, FileRules, PayloadRef, ShareOptions, Spool, SpoolOptions, SweepReport, Tier, Usage,
    list, open, sweep,
};
use tempfile::TempDir;

mod support;
use support::{MEMORY_FILES, MIB, MINUTE, bytes, is_soak, private_directory};

/// Where large bodies in memory are.
const IN_MEMORY: Tier = if MEMORY_FILES { Tier::Memory } else { Tier::Pool };

fn options(directory: &Path) -> SpoolOptions {
    SpoolOptions {
        memory_budget: Some(64 * MIB),
        disk_budget: Some(64 * MIB),
        directory: Some(directory.to_owned()),
        ..SpoolOptions::default()
    }
}

fn spool_with(change: impl FnOnce(&mut SpoolOptions)) -> (TempDir, Spool) {
    let outer = private_directory();
    let mut options = options(outer.path());
    change(&mut options);
    let spool = Spool::new(options).expect("a spool");
    (outer, spool)
}

fn spool() -> (TempDir, Spool) {
    spool_with(|_| {})
}

fn used(spool: &Spool) -> Usage {
    spool.stats().expect("the ledger is read").used
}

/// Large mappings are unmapped on another thread: wait until the budget says so.
fn wait_until_nothing_is_used(spool: &Spool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while used(spool) != Usage::default() {
        assert!(Instant::now() < deadline, "still used: {:?}", used(spool));
        std::thread::yield_now();
    }
}

fn quota(error: &Error) -> (&'static str, u64) {
    match error.kind() {
        ErrorKind::QuotaExceeded { limit, value, .. } => (limit, value),
        other => panic!("not a quota: {other:?} {error}"),
    }
}

#[test]
fn a_body_goes_where_its_size_belongs() {
    use Tier::{Heap, Pool};
    let (_outer, spool) = spool();
    let tiers = [0, 1, 256 << 10, (256 << 10) + 1, MIB, MIB + 1, 3 * MIB].map(|len| {
        let body = bytes(len);
        let region = spool.put(&body).expect("room");
        assert_eq!(region[..], body[..]);
        assert!(region.is_intact());
        assert_eq!(region.checksum(), xxhash_rust::xxh3::xxh3_64(&body));
        region.tier()
    });
    assert_eq!(tiers, [Heap, Heap, Heap, Pool, Pool, IN_MEMORY, IN_MEMORY]);
    wait_until_nothing_is_used(&spool);
}

#[test]
fn a_body_of_unknown_size_moves_up_while_it_is_written() {
    let (_outer, spool) = spool_with(|options| options.memory_budget = Some(4 * MIB));
    let body = bytes(9 * MIB);
    let mut writer = spool.writer(None).expect("room");
    let mut tiers = vec![writer.tier()];
    for chunk in body.chunks(100_000) {
        writer.write(chunk).expect("room");
        if tiers.last() != Some(&writer.tier()) {
            tiers.push(writer.tier());
        }
    }
    let mut expected = vec![Tier::Heap, Tier::Pool, IN_MEMORY, Tier::File];
    expected.dedup();
    assert_eq!(tiers, expected);
    let region = writer.finish().expect("finished");
    assert_eq!(region[..], body[..]);
    assert_eq!(used(&spool), Usage { memory: 0, disk: 9 * MIB });
    drop(region);
    wait_until_nothing_is_used(&spool);
}

#[test]
fn an_announced_size_decides_at_once_and_may_be_wrong() {
    let (_outer, spool) = spool_with(|options| options.memory_budget = Some(4 * MIB));
    let tier = |expected| spool.writer(Some(expected)).expect("room").tier();
    assert_eq!([tier(1), tier(3 * MIB), tier(5 * MIB)], [Tier::Heap, IN_MEMORY, Tier::File]);
    for (announced, len) in [(3 * MIB, 10), (10, 3 * MIB), (3 * MIB, 6 * MIB), (5 * MIB, 0), (2 * MIB, 0)] {
        let body = bytes(len);
        let region = spool.put_frames(Some(announced), body.chunks(65_536)).expect("room");
        assert_eq!(region[..], body[..], "announced {announced}");
        assert_eq!(used(&spool).memory + used(&spool).disk, len);
        drop(region);
        wait_until_nothing_is_used(&spool);
    }
}

#[test]
fn over_both_budgets_nothing_is_allocated_and_the_limit_is_named() {
    let (_outer, spool) = spool_with(|options| {
        options.memory_budget = Some(2 * MIB);
        options.disk_budget = Some(4 * MIB);
    });
    assert_eq!(quota(&spool.writer(Some(5 * MIB)).expect_err("over both")), ("disk_budget", 4 * MIB));
    let error = spool.put_frames(None, std::iter::repeat_n(vec![1; 100_000], 60)).expect_err("over both");
    assert_eq!(quota(&error), ("disk_budget", 4 * MIB));
    assert_eq!(used(&spool), Usage::default());
    spool.put(&bytes(4 * MIB)).expect("what fits, fits");
}

#[test]
fn a_tenant_cannot_take_it_all() {
    let (outer, greedy) = spool_with(|options| {
        options.tenant = "greedy".into();
        options.tenant_share = 0.5;
        options.disk_budget = Some(0);
    });
    let kept = greedy.put(&bytes(32 * MIB)).expect("its share");
    assert_eq!(quota(&greedy.put(b"x").expect_err("over its share")), ("disk_budget", 0));
    let options = SpoolOptions { tenant: "other".into(), ..options(outer.path()) };
    let other = Spool::new(options).expect("a spool");
    assert_eq!(other.put(&bytes(32 * MIB)).expect("its own share").tier(), IN_MEMORY);
    drop(kept);
}

#[test]
fn a_writer_that_is_dropped_gives_everything_back() {
    let (outer, spool) = spool_with(|options| options.memory_budget = Some(2 * MIB));
    for len in [1_000, MIB, 3 * MIB] {
        let mut writer = spool.writer(None).expect("room");
        writer.write(&bytes(len)).expect("room");
        drop(writer);
        assert_eq!(used(&spool), Usage::default());
    }
    let mut names: Vec<_> = fs::read_dir(outer.path())
        .expect("listed")
        .map(|entry| entry.expect("listed").file_name().into_string().expect("ASCII"))
        .map(|name| name.split('-').next().expect("a word").to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["key", "ledger", "worker"]);
}

#[test]
fn a_reference_opens_the_same_bytes_until_it_expires() {
    let (outer, spool) = spool_with(|options| options.memory_budget = Some(8 * MIB));
    for len in [0, 10, MIB, 2 * MIB, 20 * MIB] {
        let body = bytes(len);
        let region = spool.put(&body).expect("room");
        let mut share = ShareOptions::new(MINUTE);
        share.content_type = Some("application/json; charset=utf-8".into());
        let reference = spool.share(&region, &share).expect("shared");
        drop(region);
        let text = reference.to_string();
        assert!(text.len() <= 1024);
        let read: PayloadRef = text.parse().expect("its own text");
        assert_eq!((read.len(), read.content_type()), (len, share.content_type.as_deref()));
        // Through the spool, which has it already; and as a stranger does, over the socket.
        for opened in [spool.open(&read), open(&read, Some(outer.path()), "default")] {
            let opened = opened.expect("shared");
            assert_eq!(opened[..], body[..]);
            assert_eq!(opened.checksum(), read.checksum());
        }
        spool.revoke(&read).expect("ours");
        for opened in [spool.open(&read), open(&read, Some(outer.path()), "default")] {
            assert_eq!(opened.expect_err("revoked").kind(), ErrorKind::PayloadGone);
        }
    }
    wait_until_nothing_is_used(&spool);
}

#[test]
fn an_expired_reference_is_gone_and_so_is_its_memory() {
    let (outer, spool) = spool();
    let reference = spool
        .share(&spool.put(&bytes(2 * MIB)).expect("room"), &ShareOptions::new(Duration::ZERO))
        .expect("shared");
    for opened in [spool.open(&reference), open(&reference, Some(outer.path()), "default")] {
        assert_eq!(opened.expect_err("expired").kind(), ErrorKind::PayloadGone);
    }
    wait_until_nothing_is_used(&spool);
    assert_eq!(spool.stats().expect("read").shares, 0);
}

#[test]
fn another_tenant_or_another_spool_is_denied() {
    let (outer, spool) = spool();
    let reference =
        spool.share(&spool.put(b"secret").expect("room"), &ShareOptions::new(MINUTE)).expect("shared");
    let other =
        Spool::new(SpoolOptions { tenant: "other".into(), ..options(outer.path()) }).expect("a spool");
    assert_eq!(other.open(&reference).expect_err("another tenant").kind(), ErrorKind::Denied);
    assert_eq!(other.revoke(&reference).expect_err("another tenant").kind(), ErrorKind::Denied);
    assert_eq!(
        open(&reference, Some(outer.path()), "x").expect_err("another tenant").kind(),
        ErrorKind::Denied
    );
    let (_elsewhere, stranger) = self::spool();
    assert_eq!(stranger.open(&reference).expect_err("another key").kind(), ErrorKind::Denied);
}

#[test]
fn a_durable_payload_outlives_its_spool_and_is_swept_when_it_expires() {
    let (outer, spool) = spool_with(|options| options.memory_budget = Some(4 * MIB));
    let path = Some(outer.path());
    let mut references = Vec::new();
    for len in [0, 10, 2 * MIB, 6 * MIB] {
        let region = spool.put(&bytes(len)).expect("room");
        references.push((len, spool.share(&region, &ShareOptions::durable(MINUTE)).expect("kept")));
    }
    let expiring = spool.put(&bytes(MIB)).expect("room");
    let expired = spool.share(&expiring, &ShareOptions::durable(Duration::ZERO)).expect("kept");
    drop((expiring, spool));
    // Its last large body keeps the spool until another thread has given that back.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !list(path).expect("listed").workers.is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    for (len, reference) in &references {
        let opened = open(reference, path, "default").expect("durable");
        assert_eq!(opened[..], bytes(*len)[..]);
        assert_eq!(opened.tier(), Tier::File);
    }
    assert_eq!(open(&expired, path, "default").expect_err("expired").kind(), ErrorKind::PayloadGone);
    let report = sweep(path).expect("swept");
    assert_eq!((report.payloads, report.payload_bytes), (1, MIB + 32));
    let listing = list(path).expect("listed");
    assert_eq!((listing.workers.len(), listing.payloads.len(), listing.partial_files), (0, 4, 0));
    let again = Spool::new(options(outer.path())).expect("a spool");
    assert_eq!(used(&again).disk, 8 * MIB + 10 + 4 * 32);
    for (_, reference) in &references {
        again.revoke(reference).expect("ours");
        assert_eq!(again.open(reference).expect_err("revoked").kind(), ErrorKind::PayloadGone);
    }
    assert_eq!(used(&again), Usage::default());
}

#[test]
fn a_durable_payload_counts_against_the_disk_budget() {
    let (outer, spool) = spool_with(|options| options.disk_budget = Some(3 * MIB));
    let region = spool.put(&bytes(2 * MIB)).expect("room");
    let kept = spool.share(&region, &ShareOptions::durable(MINUTE)).expect("kept");
    let error = spool.share(&region, &ShareOptions::durable(MINUTE)).expect_err("over the budget");
    assert_eq!(quota(&error), ("disk_budget", 3 * MIB));
    assert_eq!(list(Some(outer.path())).expect("listed").payloads.len(), 1);
    spool.revoke(&kept).expect("ours");
    spool.share(&region, &ShareOptions::durable(MINUTE)).expect("room again");
}

// Without memory files, sharing asks for room on disk.
#[cfg(not(mcpgateway_portable))]
#[test]
fn a_share_that_fails_leaves_nothing_that_nobody_can_revoke() {
    let (outer, spool) = spool_with(|options| options.disk_budget = Some(3 * MIB));
    let region = spool.put(&bytes(2 * MIB)).expect("room");
    let before = used(&spool);
    let directory = Some(outer.path());
    let worker = list(directory).expect("listed").workers[0].id;
    let in_the_way = outer.path().join(format!("socket-{worker}"));
    fs::create_dir(&in_the_way).expect("room");
    spool.share(&region, &ShareOptions::durable(MINUTE)).expect_err("no socket");
    let left = (used(&spool), list(directory).expect("listed").payloads, spool.stats().expect("read").shares);
    assert_eq!(left, (before, vec![], 0));
    fs::remove_dir(&in_the_way).expect("empty");
    spool.share(&region, &ShareOptions::durable(MINUTE)).expect("room");
    let error = spool.share(&region, &ShareOptions::durable(MINUTE)).expect_err("over the budget");
    assert_eq!(quota(&error), ("disk_budget", 3 * MIB));
    assert_eq!(spool.stats().expect("read").shares, 1);
}

#[test]
fn a_burst_of_connections_opens_every_time() {
    let (outer, spool) = spool();
    let region = spool.put(&bytes(2 * MIB)).expect("room");
    let reference = spool.share(&region, &ShareOptions::new(MINUTE)).expect("shared");
    let all = std::sync::Barrier::new(150);
    std::thread::scope(|scope| {
        for _ in 0..150 {
            scope.spawn(|| {
                all.wait();
                let opened = open(&reference, Some(outer.path()), "default").expect("shared");
                assert_eq!(opened.len() as u64, 2 * MIB);
            });
        }
    });
}

#[test]
fn a_damaged_durable_file_is_refused_before_it_is_mapped() {
    let (outer, spool) = spool();
    let path = Some(outer.path());
    let region = spool.put(b"a body on disk").expect("room");
    let damage: [fn(&Path); 5] = [
        |file| fs::write(file, b"a body on d").expect("ours"),
        |file| fs::write(file, b"").expect("ours"),
        |file| {
            let mut contents = fs::read(file).expect("ours");
            let last = contents.len() - 1;
            contents[last] ^= 1;
            fs::write(file, contents).expect("ours");
        },
        |file| {
            fs::remove_file(file).expect("ours");
            symlink("/etc/passwd", file).expect("a link");
        },
        |file| {
            fs::remove_file(file).expect("ours");
            rustix::fs::mkfifoat(rustix::fs::CWD, file, rustix::fs::Mode::RUSR).expect("a FIFO");
        },
    ];
    for damage in damage {
        let reference = spool.share(&region, &ShareOptions::durable(MINUTE)).expect("kept");
        let file = fs::read_dir(outer.path())
            .expect("listed")
            .map(|entry| entry.expect("listed").path())
            .find(|path| path.to_string_lossy().contains(&reference.id().to_string()))
            .expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
        damage(&file);
        if file.is_file() && !file.is_symlink() {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).expect("ours");
        }
        let error = open(&reference, path, "default").expect_err("damaged");
        assert!(matches!(error.kind(), ErrorKind::PayloadGone | ErrorKind::Io), "{error:?}");
        fs::remove_file(&file).expect("ours");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let outer = private_directory();
    let refused = |change: fn(&mut SpoolOptions)| {
        let mut options = options(outer.path());
        change(&mut options);
        Spool::new(options).expect_err("refused").kind()
    };
    assert_eq!(refused(|options| options.tenant = "../a".into()), ErrorKind::InvalidOption);
    assert_eq!(refused(|options| options.tenant = String::new()), ErrorKind::InvalidOption);
    assert_eq!(refused(|options| options.tenant_share = f64::NAN), ErrorKind::InvalidOption);
    assert_eq!(refused(|options| options.tenant_share = 1.5), ErrorKind::InvalidOption);
    let (_outer, spool) = spool();
    let region = spool.put(b"x").expect("room");
    let mut share = ShareOptions::new(Duration::MAX);
    assert_eq!(spool.share(&region, &share).expect_err("for ever").kind(), ErrorKind::InvalidOption);
    share = ShareOptions { content_type: Some("a\nb".into()), ..ShareOptions::new(MINUTE) };
    assert_eq!(spool.share(&region, &share).expect_err("a line").kind(), ErrorKind::InvalidOption);
    assert_eq!(used(&spool).disk, 0);
}

#[test]
fn only_regular_files_are_opened_and_nothing_hangs() {
    let (outer, spool) = spool();
    let at = |name: &str| outer.path().join(name);
    let denied = |path: &Path, rules| spool.open_file(path, rules).expect_err("refused").kind();
    fs::write(at("file"), bytes(3 * MIB)).expect("room");
    symlink(at("file"), at("link")).expect("a link");
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR).expect("a FIFO");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
    for rules in [FileRules::default(), FileRules { trusted: true, follow_links: false }] {
        assert_eq!(denied(&at("fifo"), rules), ErrorKind::Denied);
        assert_eq!(denied(&at("link"), rules), ErrorKind::Denied);
        assert_eq!(denied(&at("socket"), rules), ErrorKind::Denied);
        assert_eq!(denied(outer.path(), rules), ErrorKind::Denied);
        assert_eq!(denied(Path::new("/dev/zero"), rules), ErrorKind::Denied);
        assert_eq!(denied(&at("missing"), rules), ErrorKind::Io);
        assert_eq!(spool.open_file(&at("file"), rules).expect("regular")[..], bytes(3 * MIB)[..]);
    }
    let followed = spool.open_file(&at("link"), FileRules { follow_links: true, trusted: false });
    assert_eq!(followed.expect("asked for").len() as u64, 3 * MIB);
}

#[test]
fn a_copied_file_may_change_and_the_body_does_not() {
    let (outer, spool) = spool();
    let path = outer.path().join("file");
    fs::write(&path, bytes(3 * MIB)).expect("room");
    let copied = spool.open_file(&path, FileRules::default()).expect("regular");
    fs::write(&path, b"short").expect("ours");
    assert_eq!(copied[..], bytes(3 * MIB)[..]);
    assert!(copied.is_intact());
    assert_eq!(spool.open_file(&path, FileRules::default()).expect("regular")[..], b"short"[..]);
    fs::write(&path, b"").expect("ours");
    for trusted in [false, true] {
        let rules = FileRules { trusted, follow_links: false };
        assert!(spool.open_file(&path, rules).expect("regular").is_empty());
    }
    // Its size is 0, and it has contents.
    let proc = spool.open_file(Path::new("/proc/self/status"), FileRules::default()).expect("regular");
    assert!(proc.starts_with(b"Name:"));
}

#[test]
fn a_trusted_file_is_mapped_and_can_be_shared_by_a_copy() {
    let (outer, spool) = spool();
    let path = outer.path().join("file");
    fs::write(&path, bytes(3 * MIB)).expect("room");
    let mapped = spool.open_file(&path, FileRules { trusted: true, follow_links: false }).expect("regular");
    assert_eq!((mapped.tier(), used(&spool)), (Tier::Foreign, Usage::default()));
    let reference = spool.share(&mapped, &ShareOptions::new(MINUTE)).expect("shared");
    assert_eq!(open(&reference, Some(outer.path()), "default").expect("shared")[..], mapped[..]);
}

#[test]
fn what_was_planted_in_the_directory_changes_nothing() {
    let (outer, spool) = spool();
    let victim = tempfile::NamedTempFile::new().expect("a file");
    let before = fs::metadata(victim.path()).expect("there").permissions();
    let id = "0".repeat(32);
    for name in ["worker", "socket", "partial"] {
        symlink(victim.path(), outer.path().join(format!("{name}-{id}"))).expect("a link");
    }
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        outer.path().join(format!("worker-{}", "1".repeat(32))),
        rustix::fs::Mode::RUSR,
    )
    .expect("a FIFO");
    fs::write(outer.path().join("notes.txt"), b"somebody's").expect("room");
    fs::create_dir(outer.path().join(format!("partial-{}", "2".repeat(32)))).expect("a directory");
    let report = spool.sweep().expect("swept");
    assert_eq!(report, SweepReport { files: 4, ..SweepReport::default() });
    assert_eq!(fs::read(outer.path().join("notes.txt")).expect("left alone"), b"somebody's");
    assert_eq!(fs::metadata(victim.path()).expect("there").permissions(), before);
    let listing = list(Some(outer.path())).expect("listed");
    assert_eq!((listing.workers.len(), listing.workers[0].alive, listing.foreign_files), (1, true, 1));
    assert_eq!(listing.workers[0].tenant, "default");
}

#[test]
fn a_million_changed_references_are_refused() {
    mutate_references(if is_soak() { 1_000_000 } else { 20_000 });
}

/// Change one to three bytes of a reference, in every place and in any way, and open it.
fn mutate_references(count: u64) {
    let (outer, spool) = spool();
    let region = spool.put(b"secret").expect("room");
    let text = spool.share(&region, &ShareOptions::durable(MINUTE)).expect("shared").to_string();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).expect("below")
    };
    let alphabet: Vec<char> = ('!'..='~').collect();
    let (mut unread, mut denied) = (0, 0);
    for _ in 0..count {
        let mut changed: Vec<char> = text.chars().collect();
        for _ in 0..=next(3) {
            let place = next(changed.len());
            match next(4) {
                0 => drop(changed.remove(place)),
                1 => changed.insert(place, alphabet[next(alphabet.len())]),
                2 => changed.swap(place, next(text.len()).min(place)),
                _ => changed[place] = alphabet[next(alphabet.len())],
            }
        }
        let changed: String = changed.into_iter().collect();
        if changed == text {
            continue;
        }
        match changed.parse::<PayloadRef>().and_then(|reference| spool.open(&reference)) {
            Err(error) if error.kind() == ErrorKind::InvalidRef => unread += 1,
            Err(error) if error.kind() == ErrorKind::Denied => denied += 1,
            other => panic!("{changed}: {other:?}"),
        }
    }
    assert!(unread > 0 && denied > 0);
    assert_eq!(
        open(&text.parse().expect("unchanged"), Some(outer.path()), "default").expect("genuine")[..],
        b"secret"[..]
    );
}

#[test]
fn a_body_can_be_read_while_its_spool_is_closed() {
    let (outer, spool) = spool();
    let region = spool.put(&bytes(2 * MIB)).expect("room");
    let reference = spool.share(&region, &ShareOptions::new(MINUTE)).expect("shared");
    let opened = open(&reference, Some(outer.path()), "default").expect("shared");
    drop(spool);
    assert_eq!(
        open(&reference, Some(outer.path()), "default").expect_err("closed").kind(),
        ErrorKind::PayloadGone
    );
    assert_eq!((opened[..] == region[..], region.is_intact()), (true, true));
    drop((opened, region));
    assert_eq!(list(Some(outer.path())).expect("listed").workers, []);
}

#[test]
fn threads_share_one_spool() {
    let (_outer, spool) = spool();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let spool = &spool;
            scope.spawn(move || {
                for round in 0..25_u64 {
                    let body = bytes(round * 50_000 + thread);
                    let region = spool.put(&body).expect("room");
                    let reference = spool.share(&region, &ShareOptions::new(MINUTE)).expect("shared");
                    let opened = open(&reference, Some(spool.directory()), "default").expect("shared");
                    assert_eq!(opened[..], body[..]);
                    spool.revoke(&reference).expect("ours");
                }
            });
        }
    });
    wait_until_nothing_is_used(&spool);
}
