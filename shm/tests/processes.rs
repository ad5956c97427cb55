//! Several processes, and what the system does to them: killed, forked, limited, out of room.
//!
//! A child is this very program, run again for the one test [`child`], with the name of its
//! task in the environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mcpgateway_shm::{
    ErrorKind, FileRules, PayloadRef, ShareOptions, Spool, SpoolOptions, Tier, Usage, list, open, sweep,
};

mod support;
use support::{MEMORY_FILES, MIB, MINUTE, bytes, is_soak, private_directory};

const TASK: &str = "MCPGATEWAY_SHM_TASK";
const DIRECTORY: &str = "MCPGATEWAY_SHM_DIRECTORY";

fn options_in(directory: &Path, memory: u64) -> SpoolOptions {
    SpoolOptions {
        memory_budget: Some(memory),
        disk_budget: Some(64 * MIB),
        directory: Some(directory.to_owned()),
        ..SpoolOptions::default()
    }
}

fn spool_in(directory: &Path, memory: u64) -> Spool {
    Spool::new(options_in(directory, memory)).expect("a spool")
}

/// What is used when nothing is, or after ten seconds: a large mapping is unmapped on another thread.
fn used_at_last(spool: &Spool) -> Usage {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let used = spool.stats().expect("read").used;
        if used == Usage::default() || Instant::now() > deadline {
            return used;
        }
        std::thread::yield_now();
    }
}

// ---- Children

fn program(task: &str, directory: &Path) -> Vec<(String, String)> {
    vec![(TASK.into(), task.into()), (DIRECTORY.into(), directory.to_str().expect("UTF-8").into())]
}

fn command(task: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(ARGUMENTS).envs(program(task, directory));
    command
}

const ARGUMENTS: [&str; 4] = ["child", "--exact", "--nocapture", "--test-threads=1"];

fn run(task: &str, directory: &Path) -> Output {
    command(task, directory).output().expect("it runs")
}

/// What a child said after `key`, if it came to its end.
fn answer(output: &Output, key: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    assert!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
}

/// A child that lives until it is told to end, or is killed with this.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Open as long as the child is to live.
    _stdin: ChildStdin,
}

impl Running {
    fn start(task: &str, directory: &Path) -> Self {
        let mut child = command(task, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("it runs");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stdin = child.stdin.take().expect("piped");
        Self { child, stdout, _stdin: stdin }
    }

    /// The next line that begins with `key=`.
    fn line(&mut self, key: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).expect("a pipe"), 0, "the child has ended");
            if let Some(value) = line.trim_end().strip_prefix(key).and_then(|rest| rest.strip_prefix('=')) {
                return value.to_owned();
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("a child");
        assert_eq!(self.child.wait().expect("a child").signal(), Some(9));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Run by the other tests in a process of its own, it does its task there; run by itself, it sees that such a
/// process does what it is told and nothing else.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        let outer = private_directory();
        let refused = run("no such task", outer.path());
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains("no task no such task"));
        return;
    };
    let directory = std::env::var_os(DIRECTORY).expect("given with the task");
    let directory = Path::new(&directory);
    println!();
    match task.as_str() {
        "share" => child_share(directory),
        "write" => child_write(directory),
        "work" => child_work(directory),
        "file_limit" => child_file_limit(directory),
        "descriptor_limit" => child_descriptor_limit(directory),
        "no_descriptor" => child_no_descriptor(directory),
        "few_descriptors" => child_few_descriptors(directory),
        "small_disk" => child_small_disk(directory),
        "clone" => child_clone(directory),
        "small_memory" => child_small_memory(directory),
        "every_call" => child_every_call(directory),
        other => panic!("no task {other}"),
    }
}

fn wait_for_the_end() {
    let _ = std::io::stdin().read_line(&mut String::new());
}

// ---- Handing over

/// Share one payload in memory, one in a file, one that is durable.
fn child_share(directory: &Path) {
    let spool = spool_in(directory, 4 * MIB);
    let share = |key, len, options: &ShareOptions| {
        let region = spool.put(&bytes(len)).expect("room");
        println!("{key}={}", spool.share(&region, options).expect("shared"));
    };
    share("memory", 2 * MIB, &ShareOptions::new(MINUTE));
    share("file", 8 * MIB, &ShareOptions::new(MINUTE));
    share("durable", 10, &ShareOptions::durable(MINUTE));
    wait_for_the_end();
}

#[test]
fn payloads_of_another_process_are_opened_and_gone_when_it_is_killed() {
    let outer = private_directory();
    let spool = spool_in(outer.path(), 4 * MIB);
    let mut worker = Running::start("share", outer.path());
    let mut reference = |key: &str| -> PayloadRef { worker.line(key).parse().expect("a reference") };
    let (memory, file, durable) = (reference("memory"), reference("file"), reference("durable"));
    let opened = spool.open(&memory).expect("shared");
    let shared = if MEMORY_FILES { Tier::Memory } else { Tier::File };
    assert_eq!((opened.tier(), opened.len() as u64), (shared, 2 * MIB));
    assert_eq!(opened[..], bytes(2 * MIB)[..]);
    assert_eq!(spool.open(&file).expect("shared")[..], bytes(8 * MIB)[..]);
    assert_eq!(spool.open(&durable).expect("kept")[..], bytes(10)[..]);
    let shared_again = spool.share(&opened, &ShareOptions::new(MINUTE)).expect("room for a copy");

    assert_eq!(spool.revoke(&memory).expect_err("another's").kind(), ErrorKind::Unsupported);
    assert_eq!(spool.open(&memory).expect("not revoked")[..], bytes(2 * MIB)[..]);

    worker.kill();
    spool.revoke(&memory).expect("nobody serves it");
    assert_eq!(opened[..], bytes(2 * MIB)[..], "who has it open keeps it");
    assert_eq!(spool.open(&memory).expect_err("killed").kind(), ErrorKind::PayloadGone);
    assert_eq!(spool.open(&file).expect_err("killed").kind(), ErrorKind::PayloadGone);
    assert_eq!(spool.open(&durable).expect("durable")[..], bytes(10)[..]);
    assert_eq!(spool.open(&shared_again).expect("ours")[..], bytes(2 * MIB)[..]);
    let report = spool.sweep().expect("swept");
    assert_eq!((report.workers, report.files), (1, 2));
    let (memory, disk) = if MEMORY_FILES { (2 * MIB, 0) } else { (0, 2 * MIB) };
    assert_eq!(report.returned, Usage { memory, disk: 8 * MIB + disk });
    assert_eq!(spool.stats().expect("read").used, Usage { memory, disk: disk + 10 + 32 });
}

/// Alone in its process, where no other test has descriptors.
fn child_write(directory: &Path) {
    let spool = spool_in(directory, 4 * MIB);
    for (len, tier) in [(2 * MIB, Tier::Memory), (8 * MIB, Tier::File)] {
        if tier == Tier::Memory && !MEMORY_FILES {
            continue;
        }
        let region = spool.put(&bytes(len)).expect("room");
        let reference = spool.share(&region, &ShareOptions::new(MINUTE)).expect("shared");
        let opened = open(&reference, Some(directory), "default").expect("shared");
        assert_eq!(opened.tier(), tier);
        for mapped in [&region, &opened] {
            // SAFETY: asks for more rights to a mapping of ours; that is refused.
            let status = unsafe {
                libc::mprotect(mapped.as_ptr().cast_mut().cast(), 4096, libc::PROT_READ | libc::PROT_WRITE)
            };
            assert_eq!((status, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EACCES)));
        }
        let descriptors = descriptors_of_payloads();
        assert_eq!(descriptors.len(), 1, "those received are closed once they are mapped");
        for path in descriptors {
            assert!(writes_are_refused(&path, tier), "{}", path.display());
        }
        assert_eq!(region[..], bytes(len)[..]);
        spool.revoke(&reference).expect("ours");
    }
    println!("refused=all");
}

#[test]
fn a_payload_cannot_be_written_to_by_anybody() {
    let outer = private_directory();
    assert_eq!(answer(&run("write", outer.path()), "refused"), "all");
}

/// Descriptors of memory files and unnamed files that this process has open.
fn descriptors_of_payloads() -> Vec<std::path::PathBuf> {
    std::fs::read_dir("/proc/self/fd")
        .expect("listed")
        .map(|entry| entry.expect("listed").path())
        .filter(|path| {
            std::fs::read_link(path).is_ok_and(|target| {
                let target = target.to_string_lossy().into_owned();
                target.starts_with("/memfd:mcpgateway")
                    || target.ends_with("(deleted)")
                        && (target.contains("/#") || target.contains("/partial-"))
            })
        })
        .collect()
}

fn writes_are_refused(path: &Path, tier: Tier) -> bool {
    let descriptor =
        path.file_name().and_then(|name| name.to_str()).expect("a number").parse().expect("a number");
    // SAFETY: writes one byte from a valid pointer; the descriptor is checked by the kernel.
    let written = unsafe { libc::pwrite(descriptor, b"x".as_ptr().cast(), 1, 0) };
    // SAFETY: takes numbers only.
    let shortened = unsafe { libc::ftruncate(descriptor, 0) };
    // What is not a sealed memory file is kept from other users and ours by its mode, but for the superuser.
    let reopened = std::fs::OpenOptions::new().write(true).open(path);
    let through = reopened.is_ok_and(|file| {
        tier == Tier::Memory && (file.set_len(0).is_ok() || (&file).write_all(b"x").is_ok())
    });
    written == -1 && shortened == -1 && !through
}

#[test]
fn a_forked_child_reads_and_gives_nothing_back() {
    let outer = private_directory();
    let spool = spool_in(outer.path(), 64 * MIB);
    let region = spool.put(&bytes(2 * MIB)).expect("room");
    let small = spool.put(&bytes(100)).expect("room");
    let writer = spool.writer(Some(3 * MIB)).expect("room");
    let reference = spool.share(&region, &ShareOptions::new(MINUTE)).expect("shared");
    let before = spool.stats().expect("read");
    for _ in 0..20 {
        // SAFETY: the child uses what it inherited, and leaves by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fine = std::panic::catch_unwind(|| in_the_child(&spool, &region, &reference)).is_ok();
            // SAFETY: ends the child without running the test harness's destructors.
            unsafe { libc::_exit(i32::from(!fine)) };
        }
        let mut status = 0;
        // SAFETY: `child` is a child of this process and `status` outlives the call.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0));
    }
    spool.sweep().expect("swept");
    assert_eq!(spool.stats().expect("read").used, before.used);
    assert_eq!(open(&reference, Some(outer.path()), "default").expect("shared")[..], bytes(2 * MIB)[..]);
    drop((region, small, writer));
    spool.revoke(&reference).expect("ours");
    assert_eq!(used_at_last(&spool), Usage::default());
}

fn in_the_child(spool: &Spool, region: &mcpgateway_shm::Region, reference: &PayloadRef) {
    assert_eq!(region[..], bytes(2 * MIB)[..]);
    // What is dropped here is the child's copy of a handle.
    drop(region.clone());
    // SAFETY: a bitwise copy stands for the drop at the end of a real child; it is dropped once.
    drop(unsafe { std::ptr::read(region) });
    assert_eq!(spool.open(reference).expect("from the parent")[..], bytes(2 * MIB)[..]);
    let own = spool.put(&bytes(2 * MIB)).expect("an account of its own");
    let reference = spool.share(&own, &ShareOptions::new(MINUTE)).expect("a socket of its own");
    assert_eq!(spool.open(&reference).expect("shared")[..], own[..]);
    spool.revoke(&reference).expect("ours");
}

#[test]
fn a_budget_does_not_work_across_a_fork() {
    let outer = private_directory();
    let spool = spool_in(outer.path(), 64 * MIB);
    let region = spool.put(&bytes(2 * MIB)).expect("room");
    let budget = spool.budget().expect("ours");
    // SAFETY: as above.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = budget.used().is_err_and(|error| error.kind() == ErrorKind::Unsupported);
        let fine = refused && budget.used_here() == Usage::default();
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!fine)) };
    }
    let mut status = 0;
    // SAFETY: as above.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    assert_eq!(budget.used_here().memory, region.len() as u64);
}

#[test]
fn a_writer_does_not_work_across_a_fork() {
    let outer = private_directory();
    let spool = spool_in(outer.path(), 64 * MIB);
    let mut writer = spool.writer(Some(3 * MIB)).expect("room");
    writer.write(&bytes(MIB)).expect("room");
    // SAFETY: as above.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = writer.write(b"x").is_err_and(|error| error.kind() == ErrorKind::Unsupported);
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: as above.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    writer.write(&bytes(MIB)).expect("room");
    assert_eq!(writer.finish().expect("whole")[..], [bytes(MIB), bytes(MIB)].concat()[..]);
}

/// A forked child that does nothing until it is told to end.
struct ForkedChild {
    pid: libc::pid_t,
    to_it: UnixStream,
}

impl ForkedChild {
    fn start() -> Self {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        // SAFETY: the child only reads and writes a socket, and leaves by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(ours);
            let _ = (&theirs).write_all(b"x");
            let _ = (&theirs).read(&mut [0]);
            // SAFETY: ends the child without running the test harness's destructors.
            unsafe { libc::_exit(0) };
        }
        ours.read_exact(&mut [0]).expect("the child runs");
        Self { pid, to_it: ours }
    }

    fn end(mut self) {
        self.to_it.write_all(b"x").expect("the child waits");
        // SAFETY: `pid` is a child of this process; null asks for no status.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

#[test]
fn a_child_that_lives_on_does_not_keep_the_lease_of_its_dead_parent() {
    let outer = private_directory();
    let spool = spool_in(outer.path(), 64 * MIB);
    let child = ForkedChild::start();
    // As the kernel does when a process dies: its copy of the lease is closed, nothing is unlinked.
    // Its number stays in use: another file of that number would be closed in the children of other tests.
    let lease = lease_descriptor(outer.path());
    let nothing = std::fs::File::open("/dev/null").expect("there");
    // SAFETY: the spool is forgotten below, so nobody uses the descriptor any more.
    unsafe { libc::dup2(nothing.as_raw_fd(), lease) };
    std::mem::forget(spool);
    assert_eq!(sweep(Some(outer.path())).expect("swept").workers, 1);
    child.end();
}

#[test]
fn a_forked_child_does_not_keep_the_connections_of_its_parent() {
    let outer = private_directory();
    let spool = spool_in(outer.path(), 64 * MIB);
    let region = spool.put(&bytes(2 * MIB)).expect("room");
    let reference = spool.share(&region, &ShareOptions::new(MINUTE)).expect("shared");
    let socket = name_in(outer.path(), "socket-");
    let mut client = UnixStream::connect(outer.path().join(socket)).expect("listening");
    assert_eq!(open(&reference, Some(outer.path()), "default").expect("accepted, too")[..], region[..]);
    let child = ForkedChild::start();
    drop((region, spool));
    let patience = Some(Duration::from_secs(20));
    client.set_read_timeout(patience).expect("not zero");
    let end = client.read(&mut [0]);
    assert!(matches!(end, Ok(0)), "the end of the connection: {end:?}");
    child.end();
}

fn name_in(directory: &Path, prefix: &str) -> String {
    std::fs::read_dir(directory)
        .expect("listed")
        .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned())
        .find(|name| name.starts_with(prefix))
        .expect("it is there")
}

fn lease_descriptor(directory: &Path) -> i32 {
    std::fs::read_dir("/proc/self/fd")
        .expect("listed")
        .map(|entry| entry.expect("listed").path())
        .find(|path| {
            std::fs::read_link(path).is_ok_and(|target| {
                target.starts_with(directory.join("worker-").parent().expect("joined"))
                    && target.to_string_lossy().contains("worker-")
            })
        })
        .and_then(|path| path.file_name()?.to_str()?.parse().ok())
        .expect("a lease")
}

// ---- Killed at any moment

/// Spool, share and open without end, saying so after each round.
fn child_work(directory: &Path) {
    let spool = spool_in(directory, 8 * MIB);
    for round in 0_u64.. {
        let options = ShareOptions { durable: round % 3 == 0, ..ShareOptions::new(Duration::from_millis(1)) };
        let worked = spool
            .put_frames(None, bytes(round * 700_001 % (12 * MIB)).chunks(50_000))
            .and_then(|region| spool.share(&region, &options));
        assert!(worked.as_ref().err().is_none_or(is_of_the_others), "{worked:?}");
        println!("round={round}");
        std::io::stdout().flush().expect("a pipe");
        if round % 4 == 3 {
            let swept = spool.sweep();
            assert!(swept.as_ref().err().is_none_or(is_of_the_others), "{swept:?}");
        }
    }
}

/// Whether an error is that others use the budget, or have kept its ledger for seconds on a busy machine.
fn is_of_the_others(error: &mcpgateway_shm::Error) -> bool {
    error.is_quota() || error.to_string().contains("locking its ledger")
}

#[test]
fn nothing_is_left_of_workers_that_were_killed_at_any_moment() {
    let outer = private_directory();
    let path = Some(outer.path());
    let mut random = 12345_u64;
    for _ in 0..if is_soak() { 250 } else { 25 } {
        let mut workers: Vec<Running> = (0..4).map(|_| Running::start("work", outer.path())).collect();
        for worker in &mut workers {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // A moment within a round, by spinning, after some rounds, by waiting for them.
            for _ in 0..(random >> 60) % 4 {
                worker.line("round");
            }
            (0..(random >> 40) % 100_000).for_each(|step| {
                std::hint::black_box(step);
            });
            worker.kill();
        }
    }
    // Durable payloads live a millisecond, and all were killed longer ago.
    sweep(path).expect("swept");
    let listing = list(path).expect("listed");
    assert_eq!(
        (listing.workers.len(), listing.payloads.len(), listing.partial_files),
        (0, 0, 0),
        "{listing:?}"
    );
    let mut names: Vec<_> = std::fs::read_dir(outer.path())
        .expect("listed")
        .map(|entry| entry.expect("listed").file_name().into_string().expect("ASCII"))
        .collect();
    names.sort();
    assert_eq!(names, ["key", "ledger"]);
    assert_eq!(used_at_last(&spool_in(outer.path(), MIB)), Usage::default());
}

// ---- Limits of the system

fn limit(resource: rustix::process::Resource, value: u64) {
    let before = rustix::process::getrlimit(resource);
    let limits = rustix::process::Rlimit { current: Some(value), maximum: before.maximum };
    rustix::process::setrlimit(resource, limits).expect("lowered");
}

/// SIGXFSZ has its default action in this program: it would end it.
fn child_file_limit(directory: &Path) {
    let spool = spool_in(directory, 64 * MIB);
    limit(rustix::process::Resource::Fsize, 2 * MIB);
    for memory in [true, false] {
        if memory && !MEMORY_FILES {
            continue;
        }
        let spool = if memory { spool.clone() } else { spool_in(directory, 0) };
        let error = spool.put(&bytes(3 * MIB)).expect_err("over the limit");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NoSpace, Some(libc::EFBIG)));
        let mut writer = spool.writer(None).expect("room");
        let mut written = 0;
        let error = loop {
            match writer.write(&bytes(100_000)) {
                Ok(()) => written += 100_000,
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), writer.len()), (ErrorKind::NoSpace, written));
        drop(writer);
        let small = spool.put(&bytes(MIB + MIB / 2)).expect("within the limit");
        let kept = spool.share(&small, &ShareOptions::durable(MINUTE)).expect("within the limit");
        spool.revoke(&kept).expect("ours");
        assert_eq!(small[..], bytes(MIB + MIB / 2)[..]);
    }
    println!("used={:?}", spool.stats().expect("read").used_here);
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_a_signal() {
    let outer = private_directory();
    let output = run("file_limit", outer.path());
    assert_eq!(answer(&output, "used"), format!("{:?}", Usage::default()));
}

fn child_descriptor_limit(directory: &Path) {
    let spool = spool_in(directory, 64 * MIB);
    let kept = spool.share(&spool.put(b"kept").expect("room"), &ShareOptions::new(MINUTE)).expect("shared");
    limit(rustix::process::Resource::Nofile, 40);
    let mut regions = Vec::new();
    let mut references = Vec::new();
    let error = loop {
        let region = spool.put(&bytes(MIB + 1)).expect("a body needs no descriptor");
        let shared = spool.share(&region, &ShareOptions::new(MINUTE));
        regions.push(region);
        match shared {
            Ok(reference) => references.push(reference),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Io), "{error:?}");
    assert_eq!(regions.last().map(mcpgateway_shm::Region::tier), Some(Tier::Pool));
    assert!(regions.iter().all(|region| region[..] == bytes(MIB + 1)[..]));
    let refused = open(&kept, Some(directory), "default").expect_err("no descriptor");
    assert!(matches!(refused.kind(), ErrorKind::Io), "{refused:?}");
    let refused =
        Spool::new(SpoolOptions { directory: Some(directory.to_owned()), ..SpoolOptions::default() });
    assert_eq!(refused.expect_err("no descriptor").kind(), ErrorKind::Io);
    drop(regions);
    for reference in references {
        spool.revoke(&reference).expect("ours");
    }
    assert_eq!(open(&kept, Some(directory), "default").expect("descriptors again")[..], b"kept"[..]);
    println!("used={:?}", spool.stats().expect("read").used_here);
}

#[test]
fn running_out_of_descriptors_is_an_error_that_passes() {
    let outer = private_directory();
    let output = run("descriptor_limit", outer.path());
    let kept = if MEMORY_FILES { Usage { memory: 4, disk: 0 } } else { Usage { memory: 0, disk: 4 } };
    assert_eq!(answer(&output, "used"), format!("{kept:?}"));
}

/// One descriptor more each time, so that each step of the first share is the one that fails once.
fn child_few_descriptors(directory: &Path) {
    let mut failed = 0;
    // Kept, so that no descriptor is closed meanwhile.
    let mut kept = Vec::new();
    for free in 0.. {
        let spool = spool_in(directory, 64 * MIB);
        let region = spool.put(&bytes(2 * MIB)).expect("room");
        let next = next_descriptor();
        let before = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit(rustix::process::Resource::Nofile, next + free);
        let shared = spool.share(&region, &ShareOptions::new(MINUTE));
        limit(rustix::process::Resource::Nofile, before.expect("a limit"));
        let again = spool.share(&region, &ShareOptions::new(MINUTE)).expect("descriptors again");
        assert_eq!(open_here(&again, directory)[..], region[..]);
        kept.push((spool, region));
        if shared.is_ok() {
            break;
        }
        failed += 1;
    }
    println!("failed={failed}");
}

/// The file of a body cannot be opened for reading only: then it is not handed out at all.
fn child_no_descriptor(directory: &Path) {
    let spool = spool_in(directory, 4 * MIB);
    let mut writer = spool.writer(Some(8 * MIB)).expect("room");
    writer.write(&bytes(8 * MIB)).expect("room");
    let next = next_descriptor();
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit(rustix::process::Resource::Nofile, next);
    let region = writer.finish().expect("mapped all the same");
    limit(rustix::process::Resource::Nofile, before.expect("a limit"));
    assert_eq!((region.tier(), region[..] == bytes(8 * MIB)[..]), (Tier::File, true));
    let shared = spool.share(&region, &ShareOptions::new(MINUTE)).expect("by a copy");
    assert_eq!(open_here(&shared, directory)[..], region[..]);
    println!("refused={}", descriptors_of_payloads().iter().all(|path| writes_are_refused(path, Tier::File)));
}

#[test]
fn a_file_that_can_be_written_to_is_not_handed_out() {
    let outer = private_directory();
    assert_eq!(answer(&run("no_descriptor", outer.path()), "refused"), "true");
}

/// The lowest number that is free.
fn next_descriptor() -> u64 {
    let file = std::fs::File::open("/dev/null").expect("there");
    u64::try_from(file.as_raw_fd()).expect("a descriptor")
}

fn open_here(reference: &PayloadRef, directory: &Path) -> mcpgateway_shm::Region {
    open(reference, Some(directory), "default").expect("shared")
}

#[test]
fn a_share_that_failed_for_want_of_descriptors_works_the_next_time() {
    let outer = private_directory();
    let failed: u32 = answer(&run("few_descriptors", outer.path()), "failed").parse().expect("a number");
    assert!(failed >= 3, "the socket, and each end of the pair: {failed}");
}

/// Mounts a tmpfs of 8 MiB over the directory, in a mount namespace of its own; only root may.
fn child_small_disk(directory: &Path) {
    // SAFETY: takes a number only.
    let status = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    let mounted = status == 0 && mount_privately() && mount_tmpfs(directory);
    if !mounted {
        println!("skipped=mounting a tmpfs needs privileges: {}", std::io::Error::last_os_error());
        return;
    }
    let spool = spool_in(directory, 0);
    assert_eq!(spool.stats().expect("read").directory_in_memory, MEMORY_FILES);
    let fits = spool.put(&bytes(6 * MIB)).expect("room");
    for _ in 0..10 {
        let error = spool.put(&bytes(4 * MIB)).expect_err("full");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NoSpace, Some(libc::ENOSPC)));
        assert!(error.to_string().contains(directory.to_str().expect("UTF-8")), "{error}");
        let error = spool.put_frames(None, bytes(4 * MIB).chunks(50_000)).expect_err("full");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(fits[..], bytes(6 * MIB)[..]);
    }
    if MEMORY_FILES {
        let named = spool.share(&fits, &ShareOptions::durable(MINUTE)).expect("a name, and no copy");
        assert_eq!(open(&named, Some(directory), "default").expect("shared")[..], fits[..]);
        spool.revoke(&named).expect("ours");
    }
    drop(fits);
    println!("used={:?}", used_at_last(&spool));
}

fn mount_privately() -> bool {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the path ends with a 0; the other pointers may be null for these flags.
    unsafe { libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()) == 0 }
}

fn mount_tmpfs(directory: &Path) -> bool {
    let path = std::ffi::CString::new(directory.to_str().expect("UTF-8")).expect("no 0");
    let (kind, options) = (c"tmpfs".as_ptr(), c"size=8m,mode=0700".as_ptr().cast());
    // SAFETY: all four texts end with a 0 and outlive the call.
    unsafe { libc::mount(kind, path.as_ptr(), kind, 0, options) == 0 }
}

#[test]
fn a_full_file_system_is_an_error_that_names_it() {
    let outer = private_directory();
    let output = run("small_disk", outer.path());
    if String::from_utf8_lossy(&output.stdout).contains("skipped=") {
        println!("skipped: {}", answer(&output, "skipped"));
        return;
    }
    assert_eq!(answer(&output, "used"), format!("{:?}", Usage::default()));
}

/// Mounts a file system that can share blocks over the directory; only root may.
fn child_clone(directory: &Path) {
    // SAFETY: takes a number only.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0 && mount_privately();
    let mounted =
        if alone { mount_btrfs(directory) } else { Err("a mount namespace needs privileges".into()) };
    if let Err(reason) = mounted {
        println!("skipped={reason}");
        return;
    }
    let source = directory.join("source");
    let options = SpoolOptions { disk_budget: Some(256 * MIB), ..options_in(&directory.join("spool"), 0) };
    let spool = Spool::new(options).expect("a spool");
    let contents = bytes(40 * MIB + 5);
    std::fs::write(&source, &contents).expect("room for one");
    let sync = || rustix::fs::syncfs(std::fs::File::open(directory).expect("there")).expect("synced");
    sync();
    // Of copies there is no room for one more.
    let before = rustix::fs::statvfs(directory).expect("mounted");
    let clones: Vec<_> =
        (0..4).map(|_| spool.open_file(&source, FileRules::default()).expect("no room is needed")).collect();
    sync();
    let after = rustix::fs::statvfs(directory).expect("mounted");
    std::fs::write(&source, "another content").expect("room");
    let right =
        clones.iter().all(|clone| clone.tier() == Tier::File && clone[..] == contents && clone.is_intact());
    let taken = (before.f_bfree - after.f_bfree) * before.f_frsize;
    println!("cloned={right} {}", taken < 8 * MIB);
}

/// A btrfs of 128 MiB in a file beside `directory`, where the machine has what that takes.
fn mount_btrfs(directory: &Path) -> Result<(), String> {
    let image = directory.with_extension("image");
    let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
    file.set_len(128 * MIB).map_err(|error| error.to_string())?;
    let succeeds = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).replace('\n', " ")))
        }
        Err(error) => Err(format!("{command:?}: {error}")),
    };
    succeeds(Command::new("mkfs.btrfs").args(["--quiet", "--mixed"]).arg(&image))?;
    succeeds(Command::new("mount").args(["-t", "btrfs", "-o", "loop"]).args([&image, directory]))?;
    std::fs::remove_file(&image).map_err(|error| error.to_string())
}

#[cfg(not(mcpgateway_portable))]
#[test]
fn a_file_of_others_shares_its_blocks_where_the_file_system_can() {
    let outer = private_directory();
    let directory = outer.path().join("mounted");
    std::fs::create_dir(&directory).expect("ours");
    let output = run("clone", &directory);
    if String::from_utf8_lossy(&output.stdout).contains("skipped=") {
        println!("skipped: {}", answer(&output, "skipped"));
        return;
    }
    assert_eq!(answer(&output, "cloned"), "true true");
}

/// A body of 1 GiB with the default budgets, in a control group of 96 MiB.
fn child_small_memory(directory: &Path) {
    let spool = Spool::new(SpoolOptions { directory: Some(directory.to_owned()), ..SpoolOptions::default() })
        .expect("a spool");
    let memory = spool.stats().expect("read").limits.memory;
    assert!(memory <= 24 * MIB, "a quarter of 96 MiB at most: {memory}");
    let chunk = bytes(MIB);
    let region = spool.put_frames(None, std::iter::repeat_n(&chunk, 1024)).expect("the disk takes it");
    assert_eq!((region.tier(), region.len() as u64), (Tier::File, 1024 * MIB));
    assert!(region.is_intact());
    println!("intact=true");
}

#[test]
fn a_gibibyte_in_a_container_of_96_mib_goes_to_disk() {
    let outer = private_directory();
    let group = match ControlGroup::new(96 * MIB) {
        Ok(group) => group,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    let mut shell = Command::new("sh");
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.path.display());
    shell.args(["-c", &enter, "sh"]).arg(std::env::current_exe().expect("this program")).args(ARGUMENTS);
    let output = shell.envs(program("small_memory", outer.path())).output().expect("it runs");
    assert_eq!(answer(&output, "intact"), "true");
}

/// A memory control group below our own, removed with this.
struct ControlGroup {
    path: std::path::PathBuf,
}

impl ControlGroup {
    fn new(limit: u64) -> Result<Self, String> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let v1 = groups.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| path);
        let v2 = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let (root, path, file) = match (v1, v2) {
            (Some(path), _) => ("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"),
            (None, Some(path)) => ("/sys/fs/cgroup", path, "memory.max"),
            (None, None) => return Err("no memory control groups".into()),
        };
        let name = format!("mcpgateway-test-{}", std::process::id());
        let group = Self { path: Path::new(root).join(path.trim_start_matches('/')).join(name) };
        let failed = |error: std::io::Error| format!("{}: {error}", group.path.display());
        std::fs::create_dir(&group.path).map_err(failed)?;
        std::fs::write(group.path.join(file), limit.to_string()).map_err(failed)?;
        Ok(group)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}

// ---- Every system call may fail

/// Use all there is, and say what became of it.
fn child_every_call(directory: &Path) {
    let tried = || -> mcpgateway_shm::Result<()> {
        let spool = Spool::new(options_in(directory, 3 * MIB))?;
        for len in [100, 2 * MIB, 4 * MIB] {
            let region = spool.put_frames(None, bytes(len).chunks(600_000))?;
            assert_eq!(region[..], bytes(len)[..]);
            for durable in [false, true] {
                let reference =
                    spool.share(&region, &ShareOptions { durable, ..ShareOptions::new(MINUTE) })?;
                let opened = open(&reference, Some(directory), "default");
                spool.revoke(&reference)?;
                assert_eq!(opened?[..], bytes(len)[..]);
            }
        }
        Ok(())
    };
    match tried() {
        Ok(()) => println!("outcome=ok"),
        Err(error) => println!("outcome={:?} {error}", error.kind()),
    }
    // Whatever failed, the spool works once the system does; the one failure may have been kept for this.
    let used = (0..2).find_map(|_| works_again(directory).ok());
    println!("used={:?}", used.expect("nothing fails twice"));
}

fn works_again(directory: &Path) -> mcpgateway_shm::Result<Usage> {
    let spool = Spool::new(options_in(directory, 3 * MIB))?;
    let region = spool.put(&bytes(2 * MIB))?;
    assert_eq!(region[..], bytes(2 * MIB)[..]);
    drop(region);
    Ok(used_at_last(&spool))
}

#[test]
fn each_system_call_may_fail_once_and_all_errors_are_typed() {
    if Command::new("strace").arg("--version").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let calls = [
        ("fallocate", "ENOSPC"),
        ("pwrite64", "ENOSPC"),
        ("memfd_create", "EMFILE"),
        ("ftruncate", "EIO"),
        ("linkat", "EPERM"),
        ("renameat", "ENOSPC"),
        ("fchmod", "EPERM"),
        ("mkdirat", "ENOSPC"),
        ("sendmsg", "ENOBUFS"),
        ("recvmsg", "ENOMEM"),
    ];
    let most = if is_soak() { 20 } else { 4 };
    let mut failed = 0;
    for (call, error) in calls {
        for nth in 1..=most {
            let outer = private_directory();
            let inject = format!("inject={call}:error={error}:when={nth}");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
            strace.arg(std::env::current_exe().expect("this program")).args(ARGUMENTS);
            let output = strace.envs(program("every_call", outer.path())).output().expect("it runs");
            assert_eq!(answer(&output, "used"), format!("{:?}", Usage::default()), "{inject}");
            let outcome = answer(&output, "outcome");
            failed += usize::from(outcome != "ok");
            assert!(!outcome.contains("panicked"), "{inject}: {outcome}");
            drop(outer);
        }
    }
    assert!(failed > 0, "the injected errors were seen");
}

// ---- Workers that do not answer

#[test]
fn a_stopped_worker_is_given_up() {
    let outer = private_directory();
    let spool = spool_in(outer.path(), 4 * MIB);
    let mut worker = Running::start("share", outer.path());
    let reference: PayloadRef = worker.line("memory").parse().expect("a reference");
    worker.line("durable");
    let pid = i32::try_from(worker.child.id()).expect("a process");
    // SAFETY: takes numbers only; the child is ours.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    let mut status = 0;
    // SAFETY: `pid` is a child of this process and `status` outlives the call.
    unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) };
    assert!(libc::WIFSTOPPED(status), "{status:#x}");
    assert_eq!(spool.open(&reference).expect_err("stopped").kind(), ErrorKind::TimedOut);
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    assert_eq!(spool.open(&reference).expect("it goes on")[..], bytes(2 * MIB)[..]);
    drop(worker);
}
