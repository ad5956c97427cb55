//! JSON documents and their values, as Python has them.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use mcpgateway_engine::json::{
    self, Document, Duplicates, Edit, Elements, Insert, Kind, MAX_DEPTH, Node, Options, Pointer, Whole,
};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyIndexError, PyKeyError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyMemoryView, PyString};

use crate::awaitable::awaitable;
use crate::content::is_json;
use crate::error::IntoPyResult;
use crate::interpreter::guard;
use crate::ndarray;
use crate::objects;
use crate::payload::PyPayload;
use crate::text::Text;

/// Looking for something in a value of more bytes than this is done without the GIL.
const LONG: usize = 256 << 10;

/// Characters of a value that its `repr` shows.
const SHOWN: usize = 40;

/// A value of a JSON document.
#[pyclass(name = "Node", module = "mcpgateway_rust", subclass, frozen)]
pub struct PyNode(Node);

/// A JSON document, which is also the value of its whole text.
#[pyclass(name = "Document", module = "mcpgateway_rust", extends = PyNode, frozen)]
pub struct PyDocument;

impl PyNode {
    /// The Python object for `node`.
    ///
    /// # Errors
    /// `MemoryError` when there is no memory for it.
    pub fn convert(py: Python<'_>, node: Node) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self(node))?.into_any())
    }

    /// The value.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0
    }

    /// Run `work`, without the GIL if the value is long.
    fn run<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&Node) -> T + Send) -> T {
        if self.0.span() < LONG { work(&self.0) } else { py.detach(|| work(&self.0)) }
    }

    fn expect(&self, kind: Kind, what: &str) -> PyResult<()> {
        if self.0.kind() == kind {
            return Ok(());
        }
        Err(PyTypeError::new_err(format!("{what}: this is of kind {}", self.0.kind().as_str())))
    }

    fn member(&self, key: &Bound<'_, PyString>) -> Option<Node> {
        // A text that UTF-8 cannot hold is no key of any document.
        let name = key.to_str().ok()?;
        self.run(key.py(), |node| node.get(name))
    }

    fn element(&self, py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<Node> {
        let index = match index.extract::<isize>() {
            Ok(index) => index,
            // Outside of any array.
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => isize::MAX,
            Err(_) => return Err(PyTypeError::new_err("an array is indexed by int, an object by str")),
        };
        let len = self.0.len().unwrap_or(0);
        let from_start = if index < 0 { index.checked_add_unsigned(len) } else { Some(index) };
        let index = from_start.and_then(|index| usize::try_from(index).ok()).filter(|index| *index < len);
        let found = index.and_then(|index| self.run(py, |node| node.index(index)));
        found.ok_or_else(|| PyIndexError::new_err("array index out of range"))
    }

    /// The number this is, as Python has it.
    fn as_number<'py>(&self, py: Python<'py>, what: &str) -> PyResult<Bound<'py, PyAny>> {
        match self.0.kind() {
            Kind::Number | Kind::Boolean => objects::value(py, &self.0),
            other => Err(PyTypeError::new_err(format!("{what}: this is of kind {}", other.as_str()))),
        }
    }
}

impl PyDocument {
    /// The Python object for `document`.
    ///
    /// # Errors
    /// `MemoryError` when there is no memory for it.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that awaitables ask for")]
    pub fn convert(py: Python<'_>, document: Document) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self::initializer(&document))?.into_any())
    }

    fn initializer(document: &Document) -> PyClassInitializer<Self> {
        PyClassInitializer::from(PyNode(document.root())).add_subclass(Self)
    }
}

/// What a document may be, as Python says it.
fn options_from(
    max_depth: usize,
    max_nodes: Option<usize>,
    max_bytes: Option<usize>,
    duplicates: &str,
) -> PyResult<Options> {
    if !(1..=MAX_DEPTH).contains(&max_depth) {
        return Err(PyValueError::new_err(format!("max_depth={max_depth}: pass 1 to {MAX_DEPTH}")));
    }
    let duplicates = match duplicates {
        "last" => Duplicates::LastWins,
        "error" => Duplicates::Refuse,
        _ => {
            return Err(PyValueError::new_err(format!(
                "duplicates={duplicates:?}: pass \"last\" or \"error\""
            )));
        }
    };
    Ok(Options { max_depth, max_nodes, max_bytes, duplicates })
}

#[pymethods]
impl PyDocument {
    #[new]
    #[pyo3(signature = (buffer, *, max_depth = MAX_DEPTH, max_nodes = None, max_bytes = None, duplicates = "last"))]
    fn from_python(
        py: Python<'_>,
        buffer: &Bound<'_, PyAny>,
        max_depth: usize,
        max_nodes: Option<usize>,
        max_bytes: Option<usize>,
        duplicates: &str,
    ) -> PyResult<PyClassInitializer<Self>> {
        guard(py, || {
            let options = options_from(max_depth, max_nodes, max_bytes, duplicates)?;
            let parse = move |text, dropped: &AtomicBool| Document::parse_unless(text, &options, dropped);
            let document = Text::from_python(buffer)?.run(py, parse)?;
            Ok(Self::initializer(&document))
        })
    }

    /// Await a document that is read on a thread of its own.
    #[staticmethod]
    #[pyo3(signature = (buffer, *, max_depth = MAX_DEPTH, max_nodes = None, max_bytes = None, duplicates = "last"))]
    fn open_async<'py>(
        py: Python<'py>,
        buffer: &Bound<'py, PyAny>,
        max_depth: usize,
        max_nodes: Option<usize>,
        max_bytes: Option<usize>,
        duplicates: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let options = options_from(max_depth, max_nodes, max_bytes, duplicates)?;
            let text = Text::from_python(buffer)?;
            awaitable(py, Document::open(move || text.into_bytes(), options), Self::convert)
        })
    }

    /// The value at one pointer, without a document.
    #[staticmethod]
    #[pyo3(signature = (buffer, pointer, *, whole = true))]
    fn peek<'py>(
        py: Python<'py>,
        buffer: &Bound<'py, PyAny>,
        pointer: &str,
        whole: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let pointer = Pointer::parse(pointer).into_py_result(py)?;
            let whole = if whole { Whole::Yes } else { Whole::No };
            let look = move |text: Bytes, dropped: &AtomicBool| {
                json::peek_unless(&text, &pointer, whole, &Options::default(), dropped)
            };
            let node = Text::from_python(buffer)?.run(py, look)?;
            match node.kind() {
                Kind::Object | Kind::Array => Ok(Self::convert(py, node.document().clone())?.into_bound(py)),
                _ => objects::value(py, &node),
            }
        })
    }

    /// Bytes of memory that the document holds beyond its text.
    #[getter]
    fn index_bytes(slf: &Bound<'_, Self>) -> usize {
        slf.as_super().get().0.document().index_bytes()
    }

    /// Bytes of the text.
    #[getter]
    fn nbytes(slf: &Bound<'_, Self>) -> usize {
        slf.as_super().get().0.document().text().len()
    }

    /// The text with values replaced, added and removed, as a rope around the bytes that stay.
    #[pyo3(signature = (edits = None, *, remove = None))]
    fn splice(
        slf: &Bound<'_, Self>,
        edits: Option<&Bound<'_, PyMapping>>,
        remove: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyPayload> {
        let py = slf.py();
        guard(py, || {
            let mut made = Vec::new();
            for pair in edits.map(PyMappingMethods::items).transpose()?.into_iter().flatten() {
                let (pointer, value): (String, Bound<'_, PyAny>) = pair.extract()?;
                let pointer = Pointer::parse(&pointer).into_py_result(py)?;
                made.push(Edit { pointer, insert: Some(insert_from(&value)?) });
            }
            if let Some(pointer) = remove.and_then(|remove| remove.cast::<PyString>().ok()) {
                return Err(PyTypeError::new_err(format!(
                    "remove={:?}: pass a list of pointers",
                    pointer.to_str()?
                )));
            }
            for pointer in remove.map(PyAnyMethods::try_iter).transpose()?.into_iter().flatten() {
                let pointer = Pointer::parse(pointer?.extract()?).into_py_result(py)?;
                made.push(Edit { pointer, insert: None });
            }
            let spliced = slf.as_super().get().run(py, |node| node.document().splice(&made));
            spliced.into_py_result(py).map(PyPayload::new)
        })
    }

    fn __repr__(slf: &Bound<'_, Self>) -> String {
        let node = &slf.as_super().get().0;
        format!("<Document {}, {} bytes>", node.kind().as_str(), node.document().text().len())
    }
}

/// The JSON that a Python object stands for in a splice: a node or buffer as it is, all else written out.
///
/// # Errors
/// `JsonError` when a buffer is not JSON, and what Python's `json` raises for what it cannot write.
pub fn insert_from(value: &Bound<'_, PyAny>) -> PyResult<Insert> {
    let py = value.py();
    if let Ok(node) = value.cast::<PyNode>() {
        return Ok(Insert::node(&node.get().0));
    }
    if is_json(value) {
        return Text::from_python(value)?.run(py, |text, _| Insert::json(text));
    }
    let written = objects::write(value)?;
    Text::from(mcpgateway_engine::Payload::from(written)).run(py, |text, _| Insert::json(text))
}

#[pymethods]
impl PyNode {
    /// What the value is.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind().as_str()
    }

    /// The pointer (RFC 6901) from the document to this value.
    #[getter]
    fn pointer(&self, py: Python<'_>) -> String {
        let document = self.0.document();
        if document.text().len() < LONG { self.0.pointer() } else { py.detach(|| self.0.pointer()) }
    }

    fn __getitem__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let found = match self.0.kind() {
                Kind::Object => {
                    let found = key.cast::<PyString>().ok().and_then(|key| self.member(key));
                    found.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))?
                }
                Kind::Array => self.element(py, key)?,
                other => {
                    let message =
                        format!("only arrays and objects have parts: this is of kind {}", other.as_str());
                    return Err(PyTypeError::new_err(message));
                }
            };
            Self::convert(py, found)
        })
    }

    /// The member called `key`, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyString>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            self.expect(Kind::Object, "only objects have members")?;
            match self.member(key) {
                Some(node) => Self::convert(py, node),
                None => Ok(default.unwrap_or_else(|| py.None())),
            }
        })
    }

    /// The value at `pointer`, seen from this one.
    fn at(&self, py: Python<'_>, pointer: &str) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let pointer = Pointer::parse(pointer).into_py_result(py)?;
            let found = self.run(py, |node| node.at(&pointer)).into_py_result(py)?;
            Self::convert(py, found)
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || {
            let no_len = || format!("only arrays and objects have a length: this is of kind {}", self.kind());
            self.run(py, Node::len).ok_or_else(|| PyTypeError::new_err(no_len()))
        })
    }

    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        guard(py, || match self.0.kind() {
            Kind::Object | Kind::Array => Ok(!self.0.is_empty()),
            Kind::String => Ok(self.0.raw_text().is_some_and(|raw| !raw.is_empty())),
            Kind::Number | Kind::Boolean => objects::value(py, &self.0)?.is_truthy(),
            Kind::Null => Ok(false),
        })
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || match self.0.kind() {
            Kind::Array => PyElements(Mutex::new(self.0.elements())).into_bound_py_any(py),
            Kind::Object => Ok(self.keys(py)?.try_iter()?.into_any()),
            other => Err(PyTypeError::new_err(format!(
                "only arrays and objects can be iterated: this is of kind {}",
                other.as_str()
            ))),
        })
    }

    fn __contains__(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<bool> {
        guard(py, || match self.0.kind() {
            Kind::Object => match item.cast::<PyString>() {
                Ok(key) => Ok(self.member(key).is_some()),
                Err(_) => Ok(false),
            },
            Kind::Array => {
                for element in self.0.elements() {
                    if equal(py, &element, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            other => {
                Err(PyTypeError::new_err(format!("nothing can be in a value of kind {}", other.as_str())))
            }
        })
    }

    /// The keys of an object, each once.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            self.expect(Kind::Object, "only objects have keys")?;
            let members = self.run(py, Node::members);
            objects::keys(py, &members)
        })
    }

    /// The values of an object, in the order of its keys.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            self.expect(Kind::Object, "only objects have values")?;
            let list = PyList::empty(py);
            for member in self.run(py, Node::members) {
                list.append(Self::convert(py, member.value)?)?;
            }
            Ok(list)
        })
    }

    /// The keys and values of an object.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            self.expect(Kind::Object, "only objects have items")?;
            let members = self.run(py, Node::members);
            let keys = objects::keys(py, &members)?;
            let list = PyList::empty(py);
            for (key, member) in keys.iter().zip(members) {
                list.append((key, Self::convert(py, member.value)?))?;
            }
            Ok(list)
        })
    }

    /// Python objects of this value.
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || objects::value(py, &self.0))
    }

    /// A read-only view of the bytes of this value, which keeps the document alive.
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        guard(py, || {
            let payload = Bound::new(py, PyPayload::new(self.0.raw().into()))?;
            PyMemoryView::from(&payload)
        })
    }

    /// The bytes that this string is the base64 of.
    fn base64(&self, py: Python<'_>) -> PyResult<PyPayload> {
        guard(py, || self.run(py, Node::base64).into_py_result(py).map(PyPayload::new))
    }

    /// An array of the numbers in this array.
    #[pyo3(signature = (dtype = None))]
    fn numpy<'py>(&self, py: Python<'py>, dtype: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let data_type = dtype.map(ndarray::data_type_from).transpose()?;
            let array = self.run(py, |node| node.array(data_type)).into_py_result(py)?;
            ndarray::array(py, array)
        })
    }

    /// The fields of this array of objects, by name.
    #[expect(clippy::needless_pass_by_value, reason = "an argument from Python is ours")]
    #[pyo3(signature = (names, *, fill = None))]
    fn columns<'py>(
        &self,
        py: Python<'py>,
        names: Vec<String>,
        fill: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        guard(py, || {
            let fills = ndarray::fills_from(&names, fill)?;
            let columns = self.run(py, |node| node.columns(&names, &fills)).into_py_result(py)?;
            ndarray::columns(py, &self.0, &names, &fills, columns)
        })
    }

    fn __eq__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<bool> {
        guard(py, || equal(py, &self.0, other))
    }

    fn __str__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            self.expect(Kind::String, "str() is for strings (see .value() and .raw())")?;
            objects::value(py, &self.0)
        })
    }

    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || self.as_number(py, "int() is for numbers")?.call_method0("__int__"))
    }

    fn __float__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let number = self.as_number(py, "float() is for numbers")?;
            py.get_type::<pyo3::types::PyFloat>().call1((number,))
        })
    }

    fn __repr__(&self) -> String {
        let kind = self.0.kind().as_str();
        match self.0.kind() {
            Kind::Array | Kind::Object => format!("<Node {kind}, {} bytes>", self.0.span()),
            _ => format!("<Node {kind} {}>", shown(&self.0)),
        }
    }
}

/// The beginning of a value, as it is written.
fn shown(node: &Node) -> String {
    let raw = node.raw();
    let text = String::from_utf8_lossy(&raw[..raw.len().min(4 * SHOWN)]);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < raw.len() {
        shown.push('…');
    }
    shown
}

/// Whether a value equals a Python object, as the objects made of it would.
fn equal(py: Python<'_>, node: &Node, other: &Bound<'_, PyAny>) -> PyResult<bool> {
    let ours = objects::value(py, node)?;
    match other.cast::<PyNode>() {
        Ok(other) => ours.eq(objects::value(py, &other.get().0)?),
        Err(_) => ours.eq(other),
    }
}

/// The elements of an array, one after the other.
#[pyclass(name = "Elements", module = "mcpgateway_rust._native", frozen)]
struct PyElements(Mutex<Elements>);

#[pymethods]
impl PyElements {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).next();
        next.map(|node| PyNode::convert(py, node)).transpose()
    }
}

/// Python objects of a JSON text.
///
/// # Errors
/// `JsonError` when it is none.
#[pyfunction]
pub fn loads<'py>(py: Python<'py>, buffer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    guard(py, || objects::loads(py, buffer))
}

/// Await the Python objects of a JSON text, which are made a few at a time.
///
/// # Errors
/// `RuntimeError` when no event loop is running on this thread.
#[pyfunction]
pub fn loads_async<'py>(py: Python<'py>, buffer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    guard(py, || {
        let building = objects::build_in_slices(Text::from_python(buffer)?);
        awaitable(py, building, |_, built| built)
    })
}
