//! What a process may hold without a spool of the caller's: copies within its memory budget, then on disk, then
//! refused. The budget is that of the process, so these tests have one of their own and take turns.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mcpgateway_engine::json::{Document, Options, quoted};
use mcpgateway_engine::payload::{
    AdmittedRegion, Alphabet, ProcessLimits, filled, limit_process, memory_use,
};
use mcpgateway_engine::{Decision, ErrorKind, Payload, Result, Transfer};
use tempfile::TempDir;

const MIB: usize = 1 << 20;
const WHY: &str = "for a test";

/// The budget, with 4 MiB of memory and 8 MiB on disk.
struct Turn {
    directory: TempDir,
    _lock: MutexGuard<'static, ()>,
}

impl Turn {
    fn begin() -> Self {
        static TURNS: Mutex<()> = Mutex::new(());
        let lock = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().expect("a directory");
        limit_process(ProcessLimits {
            memory_budget: Some(4 << 20),
            disk_budget: Some(8 << 20),
            directory: Some(directory.path().join("spool")),
        });
        assert_eq!(memory_use().used, 0);
        Self { directory, _lock: lock }
    }

    fn file(&self, contents: &[u8]) -> std::path::PathBuf {
        let path = self.directory.path().join("file");
        std::fs::File::create(&path).expect("made").write_all(contents).expect("room");
        path
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

fn rope(len: usize) -> Payload {
    let mut head = bytes(len);
    let tail = head.split_off(len / 3);
    Payload::join([Payload::from(head), Payload::from(tail)])
}

fn decision(len: u64) -> Decision {
    Decision::because(Transfer::Copy, len, WHY)
}

/// Makes a copy of [`bytes`] of that length.
type Way = fn(&Turn, usize) -> Result<Payload>;

/// Each way in which a copy is made.
const WAYS: [(&str, Way); 5] = [
    ("a rope in one piece", |_, len| rope(len).into_bytes().map(held)),
    ("a part of a rope", |_, len| rope(len + 2).slice(0, len)),
    ("a snapshot", |_, len| Payload::from(bytes(len)).to_copy(WHY)),
    ("a file", |turn, len| Payload::read(&turn.file(&bytes(len)), false)),
    ("a view that is not contiguous", |_, len| {
        let (source, mut filled_up_to) = (bytes(len), 0);
        filled(len, decision, |room| {
            let start = filled_up_to;
            filled_up_to += room.len();
            room.copy_from_slice(&source[start..filled_up_to]);
        })
    }),
];

fn held(bytes: Bytes) -> Payload {
    bytes.into()
}

#[test]
fn a_copy_counts_as_long_as_somebody_looks_at_it() {
    let turn = Turn::begin();
    for (name, way) in WAYS {
        let copy = way(&turn, 3 * MIB).expect("room");
        let used = memory_use().used;
        assert!((3 << 20..=(3 << 20) + 2).contains(&used), "{name}: {used}");
        assert_eq!(copy, Payload::from(bytes(3 * MIB)), "{name}");
        let part = copy.slice(5, 10).expect("one piece");
        drop(copy);
        assert_eq!(memory_use().used, used, "{name}");
        drop(part);
        assert_eq!(memory_use().used, 0, "{name}");
    }
}

#[test]
fn a_copy_beyond_the_memory_budget_goes_to_disk() {
    let turn = Turn::begin();
    let taken = AdmittedRegion::require(3 * MIB).expect("room");
    for (name, way) in WAYS {
        let copy = way(&turn, 2 * MIB).expect("room on disk");
        assert_eq!(memory_use().used, 3 << 20, "{name}");
        assert_eq!(copy, Payload::from(bytes(2 * MIB)), "{name}");
    }
    let snapshot = Payload::from(bytes(2 * MIB)).to_copy(WHY).expect("room on disk");
    assert_eq!(snapshot.decision().transfer, Transfer::Map);
    drop(taken);
    assert_eq!(memory_use().used, 0);
}

#[test]
fn a_copy_beyond_both_budgets_is_refused_and_the_limit_is_named() {
    let turn = Turn::begin();
    for (name, way) in WAYS {
        let refused = way(&turn, 9 * MIB).expect_err(name);
        let ErrorKind::BudgetExceeded { name: budget, limit, asked } = *refused.kind() else {
            panic!("{name}: {refused:?}")
        };
        assert_eq!((budget, limit), ("disk_budget", 8 << 20), "{name}");
        // A part of a rope is gathered as a whole.
        assert!((9 << 20..=(9 << 20) + 2).contains(&asked), "{name}: {asked}");
        assert_eq!(memory_use().used, 0, "{name}");
    }
    let base64 = Payload::base64(rope(9 * MIB), Alphabet::Standard).expect_err("gathered to be encoded");
    assert!(matches!(base64.kind(), ErrorKind::BudgetExceeded { name: "disk_budget", .. }));
    // The same with less goes on working.
    assert_eq!(rope(MIB).into_bytes().expect("room"), bytes(MIB));
}

#[test]
fn what_cannot_go_to_disk_is_refused_by_the_memory_budget() {
    let _turn = Turn::begin();
    let taken = AdmittedRegion::require(3 * MIB).expect("room");
    let refused = AdmittedRegion::require(2 * MIB).expect_err("one MiB is left");
    assert_eq!(
        *refused.kind(),
        ErrorKind::BudgetExceeded { name: "memory_budget", limit: 4 << 20, asked: 5 << 20 }
    );
    drop(taken);
    AdmittedRegion::require(4 * MIB).expect("room again");
    assert_eq!(memory_use().used, 0);
}

#[test]
fn a_region_grows_as_far_as_the_budget_goes() {
    let _turn = Turn::begin();
    let mut region = AdmittedRegion::allocate(MIB).expect("memory").expect("room");
    assert!(region.write(&bytes(3 * MIB)).expect("memory"));
    assert!(!region.write(&bytes(2 * MIB)).expect("memory"));
    assert_eq!((region.filled().len(), memory_use().used >= 3 << 20), (3 * MIB, true));
    assert_eq!(region.freeze(decision), Payload::from(bytes(3 * MIB)));
    assert_eq!(memory_use().used, 0);
}

#[test]
fn a_part_of_a_document_counts_as_long_as_somebody_looks_at_it_or_is_refused() {
    let _turn = Turn::begin();
    let text = "a line \"of\" text\n".repeat(MIB / 17);
    let parts = [text.clone().into_bytes(), bytes(MIB)];
    let json = format!("[{},\"{}\"]", quoted(&text), base64_simd::STANDARD.encode_to_string(&parts[1]));
    let document = Document::parse(json.into(), &Options::default()).expect("JSON");
    for (node, expected) in document.root().elements().zip(parts) {
        let part = || if expected.starts_with(b"a line") { node.text_payload() } else { node.base64() };
        let held = part().expect("room");
        assert!(memory_use().used >= held.len());
        assert_eq!(held, Payload::from(expected.clone()));
        let taken = AdmittedRegion::require(5 * MIB / 2).expect("room");
        let refused = part().expect_err("less than a MiB is left");
        assert!(
            matches!(refused.kind(), ErrorKind::BudgetExceeded { name: "memory_budget", .. }),
            "{refused}"
        );
        drop((held, taken));
        assert_eq!(memory_use().used, 0);
    }
}
