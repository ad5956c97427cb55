//! Programs of others (filters, schemas), run in a child of this process that is bounded in time and memory.
//!
//! Nothing inside a process can stop a loop, or refuse memory without ending it; the kernel can do both to a child.
//! The child sees the parent's memory as it is when the child is made, so its input is not copied.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, kill_process, setrlimit, waitpid};

/// How often the parent looks whether it is still waited for.
const LOOK: Duration = Duration::from_millis(20);
/// The first byte that a child writes.
const DONE: u8 = b'+';
const FAILED: u8 = b'-';

/// What work may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until it is ended.
    pub time: Duration,
    /// Bytes of memory beyond what the process has.
    pub memory: u64,
    /// Bytes of its output.
    pub output: u64,
}

/// How work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this output.
    Done(Vec<u8>),
    /// With this reason why there is none.
    Failed(String),
    /// It was not done in time.
    OutOfTime,
    /// It wanted more memory than it may use, or did what ends a process.
    OutOfMemory,
    /// Its output is longer than it may be.
    TooLong,
    /// Nobody waits for it any more.
    Cancelled,
}

/// Run `work` in a child, until `cancelled` is set. May take long.
///
/// `work` must neither use locks of this process nor start threads: of all the parent's threads, the child has one.
///
/// # Errors
/// When the system makes no pipe or child.
pub fn confined(
    bounds: &Bounds,
    cancelled: &AtomicBool,
    work: impl FnOnce() -> Result<Vec<u8>, String>,
) -> io::Result<Ended> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let most = in_use()?.saturating_add(bounds.memory);
    // SAFETY: the child has one thread, which runs `work` and leaves by `_exit`; the allocator of the C library is
    // made usable in it by the library itself, and other locks of the parent are not used, as documented.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => be_the_child(most, &writer, work),
        child => {
            drop(writer);
            let child = Child(Pid::from_raw(child));
            watch(bounds, cancelled, reader, child)
        }
    }
}

/// Bytes of address space that this process has.
fn in_use() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = statm.split(' ').next().and_then(|pages| pages.parse().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm has no number"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

fn be_the_child(most: u64, writer: &OwnedFd, work: impl FnOnce() -> Result<Vec<u8>, String>) -> ! {
    let limit = |resource, most| _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::As, most);
    limit(Resource::Core, 0);
    if let Ok(nowhere) = fs::OpenOptions::new().write(true).open("/dev/null") {
        // What the runtime has to say of an end for want of memory is for nobody.
        let _ = rustix::stdio::dup2_stderr(&nowhere);
    }
    let (mark, text) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(output)) => (DONE, output),
        Ok(Err(why)) => (FAILED, why.into_bytes()),
        Err(_) => (FAILED, b"it panicked".to_vec()),
    };
    let written = writer.try_clone().map(fs::File::from).and_then(|mut pipe| {
        pipe.write_all(&[mark])?;
        pipe.write_all(&text)
    });
    // SAFETY: always safe: the process ends here, without running anything of the parent's.
    unsafe { libc::_exit(i32::from(written.is_err())) }
}

/// A child that does not outlive this.
struct Child(Option<Pid>);

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            let _ = kill_process(child, Signal::KILL);
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    }
}

fn watch(bounds: &Bounds, cancelled: &AtomicBool, reader: OwnedFd, child: Child) -> io::Result<Ended> {
    let deadline = Instant::now() + bounds.time;
    let mut pipe = fs::File::from(reader);
    let (mut output, mut room) = (Vec::new(), vec![0; 64 << 10]);
    let ended = loop {
        if cancelled.load(Ordering::Relaxed) {
            break Ended::Cancelled;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Ended::OutOfTime;
        }
        if !is_readable(&pipe, left.min(LOOK))? {
            continue;
        }
        match pipe.read(&mut room)? {
            0 => break of_output(output),
            read => output.extend_from_slice(&room[..read]),
        }
        if output.len() as u64 > bounds.output.saturating_add(1) {
            break Ended::TooLong;
        }
    };
    drop(child);
    Ok(ended)
}

fn is_readable(pipe: &fs::File, patience: Duration) -> io::Result<bool> {
    let mut watched = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What a child said before it ended; one that said nothing was ended.
fn of_output(mut output: Vec<u8>) -> Ended {
    match output.first() {
        Some(&DONE) => Ended::Done(output.split_off(1)),
        Some(_) => Ended::Failed(String::from_utf8_lossy(&output[1..]).into_owned()),
        None => Ended::OutOfMemory,
    }
}

// Miri makes no processes.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { time: Duration::from_secs(20), memory: 256 << 20, output: 1 << 20 };

    fn run(bounds: &Bounds, work: impl FnOnce() -> Result<Vec<u8>, String>) -> Ended {
        confined(bounds, &AtomicBool::new(false), work).expect("a child")
    }

    #[test]
    fn the_output_of_work_comes_back() {
        let input = vec![7_u8; 1 << 20];
        assert_eq!(run(&BOUNDS, || Ok(input.clone())), Ended::Done(input.clone()));
        assert_eq!(run(&BOUNDS, || Err("no".into())), Ended::Failed("no".into()));
        assert_eq!(
            run(&BOUNDS, || std::panic::resume_unwind(Box::new(()))),
            Ended::Failed("it panicked".into())
        );
    }

    #[test]
    fn work_without_end_is_ended() {
        let hasty = Bounds { time: Duration::from_millis(200), ..BOUNDS };
        assert_eq!(
            run(&hasty, || loop {
                std::hint::spin_loop();
            }),
            Ended::OutOfTime
        );
        let cancelled = AtomicBool::new(true);
        let endless = || loop {
            std::hint::spin_loop();
        };
        assert_eq!(confined(&BOUNDS, &cancelled, endless).expect("a child"), Ended::Cancelled);
    }

    #[test]
    fn work_that_wants_too_much_ends_alone() {
        assert_eq!(run(&BOUNDS, || Ok(vec![1; 1 << 30])), Ended::OutOfMemory);
        assert_eq!(run(&BOUNDS, || Ok(vec![1; (1 << 20) + 1])), Ended::TooLong);
    }
}
