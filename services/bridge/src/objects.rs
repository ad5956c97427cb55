//! Python objects of JSON texts, made as fast as the interpreter allows.
//!
//! A short text is read and made in one pass. Of a long one, all is read before the GIL is taken; then the objects are
//! made a few at a time. Between, for an event loop, is a real sleep without the GIL, since a thread that only lets go
//! of it mostly gets it back before the loop does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcpgateway_engine::json::{
    self, Document, Member, Node, Options, Stuck, TAPE_FROM, TextWalk, Walk, Walked,
};
use mcpgateway_engine::{Error, ErrorKind, Result, runtime};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use pyo3::{ffi, intern};

use crate::error::{IntoPyResult, to_py_err};
use crate::interpreter::is_exiting;
use crate::maker::{LONG_STRING, Made, Unmade};
use crate::text::{IN_PLACE_BELOW, Text};
use crate::unicode::{Blank, Shape, new_string};

/// Python objects of `node`, made at once.
pub(crate) fn value<'py>(py: Python<'py>, node: &Node) -> PyResult<Bound<'py, PyAny>> {
    let raw = node.raw();
    if raw.len() < TAPE_FROM {
        return at_once(py, &raw).map_err(|failed| failed.of_node(py, node));
    }
    let never = AtomicBool::new(false);
    let slices = Slices::for_a_caller(&never);
    let built = py.detach(|| match from_tape(&raw, &slices)? {
        Some(built) => Ok(built),
        None => from_node(node, &slices),
    });
    built.into_py_result(py)?.map(|value| value.into_bound(py))
}

/// Python objects of the text in `buffer`, made at once.
pub(crate) fn loads<'py>(py: Python<'py>, buffer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(bytes) = buffer.cast_exact::<PyBytes>()
        && (bytes.as_bytes().len() as u64) < IN_PLACE_BELOW
    {
        let text = bytes.as_bytes();
        return at_once(py, text).map_err(|failed| failed.of_text(py, text));
    }
    let text = Text::from_python(buffer)?;
    if text.is_short() {
        let text = text.into_bytes().into_py_result(py)?;
        return at_once(py, &text).map_err(|failed| failed.of_text(py, &text));
    }
    let built = text.run(py, |text, dropped| build(text, &Slices::for_a_caller(dropped)))?;
    built.map(|value| value.into_bound(py))
}

/// Python objects of `text`, made a few at a time on a thread of its own. Dropping the future stops it.
///
/// # Errors
/// As for [`Document::parse`], and [`ErrorKind::Cancelled`] when the interpreter is ending; what Python has to say
/// about a value is in the inner result.
pub(crate) async fn build_in_slices(text: Text) -> Result<PyResult<Py<PyAny>>> {
    runtime::blocking_until_dropped(move |dropped| build(text.into_bytes()?, &Slices::beside_a_loop(dropped)))
        .await?
}

/// The `str` that the bytes between the quotes of a string stand for.
pub(crate) fn string<'py>(py: Python<'py>, raw: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let text = json::unescape(raw);
    new_string(py, &text, text.is_ascii())
}

/// A `str` for each text, or `fill`, without holding the GIL for long at a time.
pub(crate) fn strings<'py, 't>(
    py: Python<'py>,
    texts: impl Iterator<Item = Option<&'t [u8]>>,
    fill: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let made = PyList::empty(py);
    let mut pause_at = Instant::now() + SLICE;
    for (index, text) in texts.enumerate() {
        match text {
            Some(raw) => made.append(string(py, raw)?)?,
            None => made.append(fill)?,
        }
        if index % VALUES_A_LOOK == 0 && Instant::now() >= pause_at {
            py.detach(|| std::thread::sleep(REST));
            pause_at = Instant::now() + SLICE;
        }
    }
    Ok(made)
}

/// The keys of members, as a list.
pub(crate) fn keys<'py>(py: Python<'py>, members: &[Member]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for member in members {
        list.append(string(py, member.raw_key())?)?;
    }
    Ok(list)
}

/// The JSON of a Python object, written by Python's `json`.
pub(crate) fn write(object: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let py = object.py();
    let options = PyDict::new(py);
    options.set_item(intern!(py, "ensure_ascii"), false)?;
    options.set_item(intern!(py, "allow_nan"), false)?;
    options.set_item(intern!(py, "separators"), (",", ":"))?;
    let text =
        py.import(intern!(py, "json"))?.call_method(intern!(py, "dumps"), (object,), Some(&options))?;
    Ok(text.cast::<PyString>()?.to_str()?.as_bytes().to_vec())
}

/// So many arrays and objects take Python's collector longer than a millisecond to look at.
const MANY: usize = 10_000;

/// How long objects are made at a time where a thread waits for them: the GIL is let go of, but not left alone.
const LONG_SLICE: Duration = Duration::from_millis(5);
/// How long objects are made at a time beside an event loop.
const SLICE: Duration = Duration::from_micros(800);
/// How long the GIL is left alone then: without a real sleep the longest gap was 170 ms instead of 4.
const REST: Duration = Duration::from_micros(50);
/// Values between two looks at the clock.
const VALUES_A_LOOK: usize = 64;

/// Objects of a text that is short: it is read while they are made.
fn at_once<'py>(py: Python<'py>, text: &[u8]) -> std::result::Result<Bound<'py, PyAny>, Failed> {
    let _collector = PausedCollector::pause(py);
    let (mut walk, mut made) = (TextWalk::new(text), Made::of_few());
    match made.with(py, |making| walk.walk(making, usize::MAX)) {
        Ok(_) => Ok(made.into_value().into_bound(py)),
        Err(Stuck::Malformed) => Err(Failed::Malformed),
        Err(Stuck::Unmade(Unmade::Number(what))) => Err(Failed::Number(walk.at(), what)),
        Err(Stuck::Unmade(Unmade::Python(error))) => Err(Failed::Python(error)),
    }
}

/// Why no objects were made of a text.
enum Failed {
    Malformed,
    /// The number there, and what is wrong with it.
    Number(usize, &'static str),
    Python(PyErr),
}

impl Failed {
    #[cold]
    fn of_text(self, py: Python<'_>, text: &[u8]) -> PyErr {
        match Document::parse(Bytes::copy_from_slice(text), &Options::default()) {
            Ok(document) => self.of_node(py, &document.root()),
            Err(error) => to_py_err(py, &error),
        }
    }

    #[cold]
    fn of_node(self, py: Python<'_>, node: &Node) -> PyErr {
        match self {
            Self::Python(error) => error,
            Self::Number(at, what) => to_py_err(py, &wrong_number(node, at, what)),
            Self::Malformed => to_py_err(py, &node.error("what was valid before is not: please report it")),
        }
    }
}

/// The error for a number in `node`, at byte `at` of its text up to which white space counts.
fn wrong_number(node: &Node, at: usize, what: &str) -> Error {
    node.document().error_at(node.offset() + at, what)
}

/// Objects of a text that is not short, on a thread that does not have the GIL.
fn build(text: Bytes, slices: &Slices<'_>) -> Result<PyResult<Py<PyAny>>> {
    if let Some(built) = from_tape(&text, slices)? {
        return Ok(built);
    }
    // It has numbers that a tape would round, or is no JSON, which is said here.
    let document = Document::parse_unless(text, &Options::default(), slices.dropped)?;
    from_node(&document.root(), slices)
}

/// Objects of a text of which everything is read before the GIL is taken, and whose long strings are written without
/// it; none if it has no tape.
fn from_tape(text: &[u8], slices: &Slices<'_>) -> Result<Option<PyResult<Py<PyAny>>>> {
    let built = json::with_tape(text, |mut tape| {
        let strings = match long_strings(tape.strings_from(LONG_STRING), slices)? {
            Ok(strings) => strings,
            Err(error) => return Ok(Err(error)),
        };
        match make(&mut tape, Made::of_many(strings), slices)? {
            Ok(value) => Ok(Ok(value)),
            Err(Unmade::Python(error)) => Ok(Err(error)),
            Err(Unmade::Number(what)) => {
                let what = format!("a tape has a number that is none: {what}");
                Err(Error::new(ErrorKind::Internal, what))
            }
        }
    });
    built?.transpose()
}

/// Objects of a value, by its text.
fn from_node(node: &Node, slices: &Slices<'_>) -> Result<PyResult<Py<PyAny>>> {
    let text = node.raw();
    let mut walk = TextWalk::new(&text);
    match make(&mut walk, Made::of_many(Vec::new()), slices)? {
        Ok(value) => Ok(Ok(value)),
        Err(Unmade::Python(error)) => Ok(Err(error)),
        Err(Unmade::Number(what)) => Err(wrong_number(node, walk.at(), what)),
    }
}

/// The strings of long texts: made with the GIL, written without. Of 100 MB of messages that is most of the work.
fn long_strings<'t>(
    texts: impl Iterator<Item = &'t [u8]>,
    slices: &Slices<'_>,
) -> Result<PyResult<Vec<Py<PyAny>>>> {
    let texts: Vec<_> = texts.map(|text| (text, Shape::of(text))).collect();
    let (mut blanks, mut groups) = (Vec::with_capacity(texts.len()), texts.chunks(VALUES_A_LOOK));
    let made = slices.run(|py, deadline| {
        for group in groups.by_ref() {
            for (text, shape) in group {
                blanks.push(Blank::new(py, text, *shape)?);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    blanks.iter().for_each(Blank::fill);
    Ok(made.map(|()| blanks.into_iter().map(Blank::into_string).collect()))
}

/// Make the objects of what is known to be JSON, a slice at a time.
fn make(
    walk: &mut (impl Walk + Send),
    mut made: Made,
    slices: &Slices<'_>,
) -> Result<Result<Py<PyAny>, Unmade>> {
    let done = slices.run(|py, deadline| {
        let mut collector = PausedCollector::pause(py);
        let walked = made.with(py, |making| {
            loop {
                match walk.walk(making, VALUES_A_LOOK) {
                    Ok(Walked::Partly) if Instant::now() < deadline => {}
                    Ok(walked) => return Ok(walked == Walked::Whole),
                    Err(Stuck::Unmade(unmade)) => return Err(unmade),
                    Err(Stuck::Malformed) => unreachable!("the text was checked"),
                }
            }
        });
        collector.promotes = made.containers() >= MANY;
        walked
    });
    match done {
        Ok(Ok(())) => Ok(Ok(made.into_value())),
        failed => {
            // What was made in vain is freed here, with the GIL.
            Python::try_attach(|_| drop(made));
            failed.map(|failed| failed.map(|()| unreachable!("this is what did not go well")))
        }
    }
}

/// How the GIL is taken: for a while, again and again.
struct Slices<'f> {
    slice: Duration,
    rest: Option<Duration>,
    dropped: &'f AtomicBool,
}

impl<'f> Slices<'f> {
    fn for_a_caller(dropped: &'f AtomicBool) -> Self {
        Self { slice: LONG_SLICE, rest: None, dropped }
    }

    fn beside_a_loop(dropped: &'f AtomicBool) -> Self {
        Self { slice: SLICE, rest: Some(REST), dropped }
    }

    /// Do `work` with the GIL, until the deadline that it gets, and again until it says that it is done.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when nobody waits for it any more or the interpreter is ending; what `work` says is in
    /// the inner result.
    fn run<E: Send>(
        &self,
        mut work: impl FnMut(Python<'_>, Instant) -> std::result::Result<bool, E> + Send,
    ) -> Result<std::result::Result<(), E>> {
        let ending = || Error::new(ErrorKind::Cancelled, "nobody waits for these objects any more");
        let mut turns = || loop {
            if is_exiting() || self.dropped.load(Ordering::Relaxed) {
                return Err(ending());
            }
            match Python::try_attach(|py| work(py, Instant::now() + self.slice)) {
                None => return Err(ending()),
                Some(Ok(false)) => self.rest.map_or((), std::thread::sleep),
                Some(done) => return Ok(done.map(|_| ())),
            }
        };
        // A thread that Python does not know would be made known for each slice anew, and its GIL would not be handed
        // to who waits for it (CPython's drop_gil): gaps were five times as long. What is left of them is in
        // benches/results/json.md, loads_async.
        Python::try_attach(|py| py.detach(&mut turns)).unwrap_or_else(|| Err(ending()))
    }
}

/// Python's cyclic garbage collector, paused while the GIL is held: it would look at what is being made over and
/// over, a third to a half of the time of a large text, and could find no garbage there.
struct PausedCollector<'py> {
    py: Python<'py>,
    was_enabled: bool,
    /// Whether what was made counts as old from then on. Else the next collection, which looks at all that is new,
    /// holds the GIL for 60 to 90 ms after 100 MB of messages.
    promotes: bool,
}

impl<'py> PausedCollector<'py> {
    fn pause(py: Python<'py>) -> Self {
        // SAFETY: with the GIL.
        let was_enabled = unsafe { ffi::PyGC_Disable() } != 0;
        Self { py, was_enabled, promotes: false }
    }
}

impl Drop for PausedCollector<'_> {
    fn drop(&mut self) {
        if !self.was_enabled {
            return;
        }
        if self.promotes {
            // Without it all objects stay new, which costs time and nothing else.
            let _ = promote_objects(self.py);
        }
        // SAFETY: with the GIL.
        unsafe { ffi::PyGC_Enable() };
    }
}

/// Make all objects those of the oldest generation, without looking at any: `gc.freeze` moves the lists of all
/// generations out of the collector's reach, and `gc.unfreeze` moves them back into the oldest.
fn promote_objects(py: Python<'_>) -> PyResult<()> {
    let collector = py.import(intern!(py, "gc"))?;
    let frozen: usize = collector.call_method0(intern!(py, "get_freeze_count"))?.extract()?;
    // What somebody has frozen for good, as before a fork, stays frozen.
    if frozen == 0 {
        collector.call_method0(intern!(py, "freeze"))?;
        collector.call_method0(intern!(py, "unfreeze"))?;
    }
    Ok(())
}
