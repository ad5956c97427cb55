//! Arrays of the engine as numpy has them, without a copy.

use std::ffi::c_int;

use mcpgateway_engine::json::{Array, ArrayMemory, Column, ColumnData, DataType, Fill, Fills, Node};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use pyo3::{ffi, intern};

use crate::error::IntoPyResult;
use crate::objects;

/// Memory of an array: a writable buffer. When the array is gone, a large one goes back to the warm pool.
#[pyclass(module = "mcpgateway_rust._native", frozen)]
struct Memory {
    /// Keeps the bytes at `start` where they are.
    _owner: ArrayMemory,
    start: *mut u8,
    len: usize,
}

// SAFETY: the pointer is into memory that the same object owns, and is only handed to Python, whose arrays leave it
// to their users to synchronise writes.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(mut memory: ArrayMemory) -> Self {
        let bytes = memory.bytes_mut();
        let (start, len) = (bytes.as_mut_ptr(), bytes.len());
        Self { _owner: memory, start, len }
    }
}

#[pymethods]
impl Memory {
    /// # Safety
    /// Called by the interpreter, with a view to fill or null.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        let this = slf.get();
        let len = this.len.try_into().map_err(|_| PyBufferError::new_err("larger than a buffer can be"))?;
        // SAFETY: the view is writable and not null, as the protocol has it; the bytes live as long as `slf`, of
        // which the view keeps a reference.
        let failed = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), this.start.cast(), len, 0, flags) };
        if failed == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// The ndarray of `array`.
pub(crate) fn array(py: Python<'_>, array: Array) -> PyResult<Bound<'_, PyAny>> {
    let numpy = py.import(intern!(py, "numpy"))?;
    let shape = PyTuple::new(py, &array.shape)?;
    let name = array.data_type.as_str();
    if array.shape.contains(&0) {
        return numpy.call_method1(intern!(py, "empty"), (shape, name));
    }
    let memory = Bound::new(py, Memory::new(array.memory))?;
    let flat = numpy.call_method1(intern!(py, "frombuffer"), (memory, name))?;
    flat.call_method1(intern!(py, "reshape"), (shape,))
}

/// The type that a dtype, or what numpy makes one of, stands for.
pub(crate) fn data_type_from(dtype: &Bound<'_, PyAny>) -> PyResult<DataType> {
    let py = dtype.py();
    let dtype = py.import(intern!(py, "numpy"))?.call_method1(intern!(py, "dtype"), (dtype,))?;
    let is_native: bool = dtype.getattr(intern!(py, "isnative"))?.extract()?;
    let name: String = dtype.getattr(intern!(py, "name"))?.extract()?;
    let unsupported = || {
        let message = format!("dtype={dtype}: pass bool, int8 to int64, uint8 to uint64, float32 or float64");
        PyTypeError::new_err(message)
    };
    DataType::from_name(&name).filter(|_| is_native).ok_or_else(unsupported)
}

/// What columns are filled with: one value for all, or a mapping by their names.
pub(crate) fn fills_from(names: &[String], fill: Option<&Bound<'_, PyAny>>) -> PyResult<Fills> {
    let Some(fill) = fill else { return Ok(Fills::default()) };
    let Ok(mapping) = fill.cast::<PyMapping>() else {
        return Ok(Fills { all: Some(fill_from(fill)?), ..Fills::default() });
    };
    let mut fills = Fills::default();
    for pair in mapping.items()? {
        let (name, fill): (String, Bound<'_, PyAny>) = pair.extract()?;
        if !names.contains(&name) {
            return Err(PyValueError::new_err(format!("fill[{name:?}]: no column is called so")));
        }
        fills.by_name.insert(name, fill_from(&fill)?);
    }
    Ok(fills)
}

fn fill_from(fill: &Bound<'_, PyAny>) -> PyResult<Fill> {
    if fill.is_none() {
        Ok(Fill::Null)
    } else if fill.is_instance_of::<PyBool>() {
        Ok(Fill::Bool(fill.extract()?))
    } else if fill.is_instance_of::<PyInt>() {
        Ok(Fill::Int(fill.extract()?))
    } else if fill.is_instance_of::<PyFloat>() {
        Ok(Fill::Float(fill.extract()?))
    } else if fill.is_instance_of::<PyString>() {
        Ok(Fill::Text(fill.extract()?))
    } else {
        Err(PyTypeError::new_err("fill: pass a bool, int, float, str or None, or a dict of these by column"))
    }
}

/// Columns by their names: an ndarray each, or a list of strings.
pub(crate) fn columns<'py>(
    py: Python<'py>,
    node: &Node,
    names: &[String],
    fills: &Fills,
    columns: Vec<Column>,
) -> PyResult<Bound<'py, PyDict>> {
    let made = PyDict::new(py);
    for (name, column) in names.iter().zip(columns) {
        let values = match column.data {
            ColumnData::Text(texts) => strings(py, node, fills.of(name), &texts)?.into_any(),
            ColumnData::Bool(values) => block(py, DataType::Bool, &values, |value| [u8::from(*value)])?,
            ColumnData::Int(values) => block(py, DataType::Int64, &values, |value| value.to_ne_bytes())?,
            ColumnData::Float(values) => block(py, DataType::Float64, &values, |value| value.to_ne_bytes())?,
            ColumnData::Missing(_) => block(py, DataType::Float64, &[], |value: &f64| value.to_ne_bytes())?,
        };
        made.set_item(name, values)?;
    }
    Ok(made)
}

fn block<'py, T: Sync, const SIZE: usize>(
    py: Python<'py>,
    data_type: DataType,
    values: &[T],
    bytes_of: impl Fn(&T) -> [u8; SIZE] + Sync + Send,
) -> PyResult<Bound<'py, PyAny>> {
    let copied = py.detach(|| {
        let mut memory = ArrayMemory::allocate(values.len() * SIZE)?;
        for (slot, value) in memory.bytes_mut().chunks_exact_mut(SIZE).zip(values) {
            slot.copy_from_slice(&bytes_of(value));
        }
        Ok(memory)
    });
    array(py, Array { shape: vec![values.len()], data_type, memory: copied.into_py_result(py)? })
}

fn strings<'py>(
    py: Python<'py>,
    node: &Node,
    fill: Option<&Fill>,
    texts: &[Option<(u32, u32)>],
) -> PyResult<Bound<'py, PyList>> {
    let fill = match fill {
        Some(Fill::Text(text)) => PyString::new(py, text).into_any(),
        _ => py.None().into_bound(py),
    };
    let document = node.document().text();
    let raw = |(start, end): (u32, u32)| &document[start as usize..end as usize];
    objects::strings(py, texts.iter().map(|text| text.map(raw)), &fill)
}
