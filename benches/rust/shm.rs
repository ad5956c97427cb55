//! Spooling a body, beside what one would do without a spool, and handing it to another process.
//!
//! Targets: `spool/memory` within 1.2 times `spool/pwrite`, its checksum included, and 1.6 times faster
//! than `spool/fill`; `handle` under 100 us at every size, which asks a worker in another process for
//! the descriptor, maps it and reads the first byte.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use mcpgateway_benches::{LARGE_SIZES, SIZES};
use mcpgateway_shm::{PayloadRef, ShareOptions, Spool, SpoolOptions};
use memmap2::MmapMut;

mod measured;
use measured::group;

/// Bytes that arrive at a time, as from a socket.
const CHUNK: usize = 128 << 10;
/// In the environment of the worker that shares: its directory.
const WORKER: &str = "MCPGATEWAY_BENCH_WORKER";

/// A directory of this run, on disk.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcpgateway-bench-{name}-{}", std::process::id()));
        Self(path)
    }

    fn spool(&self, memory: u64, map_above: u64) -> Spool {
        spool(&self.0, memory, map_above)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spool(directory: &Path, memory: u64, map_above: u64) -> Spool {
    Spool::new(SpoolOptions {
        memory_budget: Some(memory),
        disk_budget: Some(4 << 30),
        directory: Some(directory.to_owned()),
        map_above,
        ..SpoolOptions::default()
    })
    .expect("a spool")
}

fn chunks(chunk: &[u8], len: usize) -> impl Iterator<Item = (usize, &[u8])> {
    (0..len).step_by(CHUNK).map(move |at| (at, &chunk[..CHUNK.min(len - at)]))
}

fn memory_file() -> File {
    File::from(rustix::fs::memfd_create("bench", rustix::fs::MemfdFlags::CLOEXEC).expect("a memory file"))
}

/// A file without a name in `directory`.
fn unnamed_file(directory: &Path) -> File {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    File::from(openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR).expect("a file"))
}

/// A fresh mapping of a memory file, filled by stores.
fn fill(chunk: &[u8], len: usize) -> usize {
    let file = memory_file();
    file.set_len(len as u64).expect("room");
    // SAFETY: nobody else has the file.
    let mut map = unsafe { MmapMut::map_mut(&file) }.expect("mapped");
    chunks(chunk, len).for_each(|(at, chunk)| map[at..at + chunk.len()].copy_from_slice(chunk));
    map.len()
}

/// A file, written to and no more.
fn pwrite(file: &File, chunk: &[u8], len: usize) -> usize {
    chunks(chunk, len).for_each(|(at, chunk)| file.write_all_at(chunk, at as u64).expect("room"));
    len
}

fn spooling(criterion: &mut Criterion) {
    let place = Place::new("spool");
    let (pool, memory, disk) = (place.spool(4 << 30, 4 << 30), place.spool(4 << 30, 0), place.spool(0, 0));
    let chunk = vec![7; CHUNK];
    let put = |spool: &Spool, len: usize| {
        let frames = chunks(&chunk, len).map(|(_, chunk)| chunk);
        spool.put_frames(Some(len as u64), frames).expect("room").len()
    };
    let mut group = group(criterion, "spool");
    for (name, len) in SIZES {
        assert_eq!([put(&pool, len), put(&memory, len), put(&disk, len), fill(&chunk, len)], [len; 4]);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("pool/{name}"), |bencher| bencher.iter(|| put(&pool, len)));
        group.bench_function(format!("memory/{name}"), |bencher| bencher.iter(|| put(&memory, len)));
        group.bench_function(format!("pwrite/{name}"), |bencher| {
            bencher.iter(|| pwrite(&memory_file(), &chunk, len));
        });
        group.bench_function(format!("fill/{name}"), |bencher| bencher.iter(|| fill(&chunk, len)));
        group.bench_function(format!("disk/{name}"), |bencher| bencher.iter(|| put(&disk, len)));
        group.bench_function(format!("pwrite to disk/{name}"), |bencher| {
            bencher.iter(|| pwrite(&unnamed_file(&place.0), &chunk, len));
        });
    }
}

/// Another process, which shares a payload of each size until it is killed.
struct Worker {
    child: Child,
    references: Vec<(&'static str, PayloadRef)>,
}

impl Worker {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let mut child = command.env(WORKER, directory).stdout(Stdio::piped()).spawn().expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let references = shared_sizes().map(|(name, _)| {
            let line = lines.next().expect("one for each size").expect("a pipe");
            (name, line.parse().expect("a reference"))
        });
        Self { references: references.collect(), child }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shared_sizes() -> impl Iterator<Item = (&'static str, usize)> {
    SIZES.into_iter().chain(LARGE_SIZES).filter(|(_, len)| *len >= 1 << 20)
}

fn share(directory: &Path) {
    let spool = spool(directory, 8 << 30, 0);
    let chunk = vec![7; CHUNK];
    for (_, len) in shared_sizes() {
        let frames = chunks(&chunk, len).map(|(_, chunk)| chunk);
        let region = spool.put_frames(Some(len as u64), frames).expect("room");
        println!("{}", spool.share(&region, &ShareOptions::new(Duration::from_secs(3600))).expect("shared"));
    }
    // Until this process is killed.
    let _ = std::io::stdin().read(&mut [0]);
    std::thread::park();
}

fn handle(criterion: &mut Criterion) {
    let place = Place::new("handle");
    let spool = place.spool(0, 0);
    let worker = Worker::start(&place.0);
    let mut group = group(criterion, "handle");
    for (name, reference) in &worker.references {
        let text = reference.to_string();
        assert_eq!(spool.open(reference).expect("shared").len() as u64, reference.len());
        group.bench_function(format!("open/{name}"), |bencher| {
            bencher.iter(|| {
                let reference: PayloadRef = black_box(&text).parse().expect("its own text");
                spool.open(&reference).expect("shared")[0]
            });
        });
    }
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    std::thread::spawn(move || {
        let mut byte = [0; 32];
        while (&theirs).read_exact(&mut byte).is_ok() && (&theirs).write_all(&byte).is_ok() {}
    });
    group.bench_function("ping", |bencher| {
        bencher.iter(|| {
            (&ours).write_all(&[7; 32]).expect("a peer");
            (&ours).read_exact(&mut [0; 32]).expect("a peer");
        });
    });
    let (name, reference) = &worker.references[1];
    group.bench_function(format!("parse/{name}"), |bencher| {
        let text = reference.to_string();
        bencher.iter(|| black_box(&text).parse::<PayloadRef>().expect("its own text"));
    });
}

criterion_group!(benches, spooling, handle);

fn main() {
    if let Some(directory) = std::env::var_os(WORKER) {
        return share(Path::new(&directory));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
