//! Files below directories that the caller allowed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use mcpgateway_engine::payload::{Decision, Transfer, allocate};
use mcpgateway_engine::{Error, ErrorKind, Limits, Payload, Result};
use url::Url;

use super::part::too_large;

/// A directory that files may be read below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// As it was given, made absolute.
    path: PathBuf,
    /// Without links.
    real: PathBuf,
}

impl Root {
    /// The directory at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] when it is none.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let unusable = |cause: io::Error| {
            let subject = format!("the root {} is no directory that can be read", path.display());
            Error::new(ErrorKind::InvalidOption, subject).with_source(cause)
        };
        let real = path.canonicalize().map_err(unusable)?;
        if !real.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { path: std::path::absolute(path).map_err(unusable)?, real })
    }

    /// What `path` is below it.
    fn below<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        path.strip_prefix(&self.path).or_else(|_| path.strip_prefix(&self.real)).ok()
    }
}

/// The contents of the file at `url`, if it is below one of `roots`, without following any link on the way.
///
/// # Errors
/// [`ErrorKind::Denied`] for a file elsewhere, a link, or what is no regular file; [`ErrorKind::File`] when it
/// cannot be read, [`ErrorKind::LimitExceeded`] when it is larger than `limits` allow.
pub(super) fn read(url: &Url, roots: &[Root], limits: &Limits) -> Result<Payload> {
    let path = url.to_file_path().map_err(|()| {
        Error::invalid_request("the file: URL names no file of this host: pass file:///path")
    })?;
    let denied = |why: &str| Error::new(ErrorKind::Denied, format!("file {}: {why}", path.display()));
    // A parent is refused even where it would stay inside: who writes one means to leave.
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(denied("a path with .. is refused"));
    }
    let (root, below) = roots
        .iter()
        .find_map(|root| Some((root, root.below(&path)?)))
        .ok_or_else(|| denied("it is not below a root that files may be read from"))?;
    if below.as_os_str().is_empty() {
        return Err(denied("it is not a regular file"));
    }
    let file = match open_beneath(&root.real, below) {
        Err(cause) if is_denied(&cause) => return Err(denied("a link, or a path out of its root")),
        opened => opened.map_err(|cause| unreadable(&path, cause))?,
    };
    let metadata = file.metadata().map_err(|cause| unreadable(&path, cause))?;
    if !metadata.is_file() {
        return Err(denied("it is not a regular file"));
    }
    if metadata.len() > limits.max_response_bytes {
        return Err(too_large(limits.max_response_bytes, metadata.len()));
    }
    contents(file, metadata.len(), limits).map_err(|failed| match failed {
        Failed::Reading(cause) => unreadable(&path, cause),
        Failed::Room(error) => error,
    })
}

enum Failed {
    Reading(io::Error),
    Room(Error),
}

fn contents(mut file: File, len: u64, limits: &Limits) -> Result<Payload, Failed> {
    let too_large_for_memory = |_| Failed::Room(too_large(usize::MAX as u64, len));
    // One byte more than announced, so that the end is seen without growing.
    let room = usize::try_from(len).map_err(too_large_for_memory)?.saturating_add(1);
    let mut region = allocate(room).map_err(Failed::Room)?;
    loop {
        if region.spare_mut().is_empty() {
            region.reserve(1).map_err(Failed::Reading)?;
        }
        match file.read(region.spare_mut()) {
            Ok(0) => break,
            Ok(read) => region.advance(read),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(Failed::Reading(cause)),
        }
        if region.filled().len() as u64 > limits.max_response_bytes {
            return Err(Failed::Room(too_large(limits.max_response_bytes, region.filled().len() as u64)));
        }
    }
    let why = "file, copied: nothing that happens to it later can change or harm this payload";
    Ok(Payload::from_region(region, |len| Decision::because(Transfer::Copy, len, why)))
}

/// Open `path` below `root`, with the system seeing to it that no link and no mount trick leads elsewhere.
#[cfg(target_os = "linux")]
fn open_beneath(root: &Path, path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

    let directory = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Without waiting for whoever has the other end of a FIFO.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(directory, path, flags, Mode::empty(), beneath)?.into())
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_: &Path, _: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What the system says of a link, of a path that leaves its root, and of a socket.
fn is_denied(cause: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = cause.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::LOOP | Errno::XDEV | Errno::NXIO))
}

fn unreadable(path: &Path, cause: io::Error) -> Error {
    Error::new(ErrorKind::File, format!("reading {}", path.display())).with_source(cause)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// `served/{inside.txt, below/a b}` and `outside.txt`, with links between them.
    fn tree() -> (tempfile::TempDir, Root) {
        let outer = tempfile::tempdir().expect("a directory");
        let root = outer.path().join("served");
        std::fs::create_dir_all(root.join("below")).expect("made");
        std::fs::write(root.join("inside.txt"), "inside").expect("written");
        std::fs::write(root.join("below/a b"), "below").expect("written");
        std::fs::write(outer.path().join("outside.txt"), "outside").expect("written");
        symlink("inside.txt", root.join("link")).expect("made");
        symlink("../outside.txt", root.join("out")).expect("made");
        symlink("..", root.join("up")).expect("made");
        let root = Root::new(&root).expect("a directory");
        (outer, root)
    }

    fn get(root: &Root, path: &str, limits: &Limits) -> Result<Vec<u8>> {
        let url = format!("file://{}/{path}", root.path.display()).parse().expect("a URL");
        Ok(read(&url, std::slice::from_ref(root), limits)?.into_bytes()?.to_vec())
    }

    #[test]
    fn what_is_below_the_root_is_read() {
        let (_outer, root) = tree();
        let read = |path| get(&root, path, &Limits::default()).expect(path);
        assert_eq!(read("inside.txt"), b"inside");
        assert_eq!(read("below/a%20b"), b"below");
        assert_eq!(read("below/../inside.txt"), b"inside"); // the URL has no parent in it once it is read
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let (outer, root) = tree();
        let _socket = UnixListener::bind(root.real.join("socket")).expect("bound");
        for path in [
            "link",
            "out",
            "up/outside.txt",
            "up/served/inside.txt",
            "../outside.txt",
            "%2e%2e/outside.txt",
            "below%2F..%2F..%2Foutside.txt",
            "..%2foutside.txt",
            "",
            "below",
            "socket",
            "../../../../etc/passwd",
        ] {
            let error = get(&root, path, &Limits::default()).expect_err(path);
            assert_eq!(*error.kind(), ErrorKind::Denied, "{path}: {error}");
        }
        let outside = Url::from_file_path(outer.path().join("outside.txt")).expect("absolute");
        let read =
            |roots: &[Root]| read(&outside, roots, &Limits::default()).expect_err("outside").kind().clone();
        assert_eq!((read(&[root]), read(&[])), (ErrorKind::Denied, ErrorKind::Denied));
    }

    #[test]
    fn what_is_missing_or_too_large_is_said_to_be() {
        let (_outer, root) = tree();
        let missing = get(&root, "none", &Limits::default()).expect_err("missing");
        assert_eq!(*missing.kind(), ErrorKind::File);
        let limits = Limits { max_response_bytes: 5, ..Limits::default() };
        let large = get(&root, "inside.txt", &limits).expect_err("too large");
        let expected = ErrorKind::LimitExceeded { name: "max_response_bytes", limit: 5, got: 6 };
        assert_eq!(*large.kind(), expected);
        assert_eq!(*Root::new(Path::new("/none")).expect_err("missing").kind(), ErrorKind::InvalidOption);
    }

    #[test]
    fn a_file_of_another_host_is_refused() {
        let (_outer, root) = tree();
        let url = "file://other.example/etc/passwd".parse().expect("a URL");
        let error = read(&url, &[root], &Limits::default()).expect_err("not here");
        assert_eq!(*error.kind(), ErrorKind::InvalidRequest);
    }
}
