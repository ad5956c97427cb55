//! The binding: convert, call, convert.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mcpgateway_bridge::{
    CallSettings, Delivery, IntoPyResult, NativeClient, Pending, PyDocument, PyNode, PyPayload, PyProgress,
    PySpool, RequestOptions, attribute, awaitable, guard, guard_from, headers_from, limits_from,
    shared_client, timeouts_from,
};
use mcpgateway_engine::json::{Document, Node, Options};
use mcpgateway_engine::{Result, TransferPolicy};
use mcpgateway_mcp::Call;
use pyo3::exceptions::{PyTypeError, PyUnicodeDecodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::core::{
    Cache, CacheOptions, Fetch, Listed, Resource, ResourceClient, ResourceOptions, Template, Value,
    fetch_resource,
};

/// Fetches resources, as the Python package wraps it.
#[pyclass(name = "ResourceClient", module = "mcpgateway_rust._native", frozen)]
struct NativeResourceClient(ResourceClient);

#[pymethods]
impl NativeResourceClient {
    #[new]
    #[pyo3(signature = (client = None, **options))]
    fn new(
        py: Python<'_>,
        client: Option<&Bound<'_, NativeClient>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let client =
                client.map_or_else(|| shared_client(py), |client| Ok(client.get().client().clone()))?;
            let options = resource_options(py, options)?;
            // Roots are looked at.
            py.detach(|| ResourceClient::new(client, options)).into_py_result(py).map(Self)
        })
    }

    /// Await a resource.
    #[pyo3(signature = (uri, **options))]
    fn fetch<'py>(
        &self,
        py: Python<'py>,
        uri: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (client, fetch) = (self.0.clone(), fetch_from(py, uri, options)?);
            awaitable(py, async move { fetch_resource(&client, fetch).await }, |py, resource| {
                Delivery::of(py, PyResource::convert(py, resource)?)
            })
        })
    }

    /// Begin to fetch a resource that is waited for by a thread.
    #[pyo3(signature = (uri, **options))]
    fn start(
        &self,
        py: Python<'_>,
        uri: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PendingResource> {
        guard(py, || {
            let (client, fetch) = (self.0.clone(), fetch_from(py, uri, options)?);
            Pending::start(py, async move { fetch_resource(&client, fetch).await }).map(PendingResource)
        })
    }

    /// Await the contents of a resource of an MCP server.
    #[pyo3(signature = (server, uri, **options))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        server: String,
        uri: String,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let reading = reading(self.0.clone(), server, uri, call_settings(options)?);
            awaitable(py, reading, resources)
        })
    }

    /// Read a resource of an MCP server, on a thread that waits without the GIL.
    #[pyo3(signature = (server, uri, **options))]
    fn read_blocking(
        &self,
        py: Python<'_>,
        server: String,
        uri: String,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let reading = reading(self.0.clone(), server, uri, call_settings(options)?);
            resources(py, Pending::start(py, reading)?.wait(py)?)
        })
    }

    /// Await what an MCP server lists.
    #[pyo3(signature = (server, templates, **options))]
    fn list<'py>(
        &self,
        py: Python<'py>,
        server: String,
        templates: bool,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let listing = listing(self.0.clone(), server, templates, call_settings(options)?);
            awaitable(py, listing, nodes)
        })
    }

    /// List what an MCP server has, on a thread that waits without the GIL.
    #[pyo3(signature = (server, templates, **options))]
    fn list_blocking(
        &self,
        py: Python<'_>,
        server: String,
        templates: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let listing = listing(self.0.clone(), server, templates, call_settings(options)?);
            nodes(py, Pending::start(py, listing)?.wait(py)?)
        })
    }
}

async fn reading(
    client: ResourceClient,
    server: String,
    uri: String,
    settings: CallSettings,
) -> Result<Vec<Resource>> {
    client.read(&server, &uri, |call| with_settings(call, settings)).await
}

async fn listing(
    client: ResourceClient,
    server: String,
    templates: bool,
    settings: CallSettings,
) -> Result<Vec<Node>> {
    let what = if templates { Listed::Templates } else { Listed::Resources };
    client.list(&server, what, |call| with_settings(call, settings)).await
}

fn call_settings(options: Option<&Bound<'_, PyDict>>) -> PyResult<CallSettings> {
    RequestOptions::from_python(options, &TransferPolicy::default())?.into_call()
}

fn with_settings(mut call: Call, settings: CallSettings) -> Call {
    if let Some(headers) = settings.headers {
        call = call.headers(headers);
    }
    if let Some(progress) = settings.progress {
        call = call.progress(progress);
    }
    call.timeouts(settings.timeouts).limits(settings.limits)
}

fn resources(py: Python<'_>, read: Vec<Resource>) -> PyResult<Py<PyAny>> {
    let read =
        read.into_iter().map(|resource| PyResource::convert(py, resource)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, read)?.into_any().unbind())
}

fn nodes(py: Python<'_>, listed: Vec<Node>) -> PyResult<Py<PyAny>> {
    let listed = listed.into_iter().map(|node| PyNode::convert(py, node)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, listed)?.into_any().unbind())
}

/// The URI that a template (RFC 6570) expands to.
#[pyfunction]
fn expand_template(py: Python<'_>, template: &str, values: &Bound<'_, PyDict>) -> PyResult<String> {
    let template = Template::parse(template).into_py_result(py)?;
    let mut read = BTreeMap::new();
    for (name, value) in values {
        if !value.is_none() {
            read.insert(name.extract::<String>()?, template_value(&value)?);
        }
    }
    template.expand(&read).into_py_result(py)
}

fn template_value(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Value::Text(text.to_str()?.to_owned()));
    }
    if let Ok(map) = value.cast::<PyDict>() {
        let pairs = map.iter().map(|(name, text)| Ok((name.extract::<String>()?, text.extract::<String>()?)));
        return Ok(Value::Map(pairs.collect::<PyResult<_>>()?));
    }
    let list = value.extract::<Vec<String>>();
    list.map(Value::List).map_err(|_| {
        PyTypeError::new_err("the value of a template's variable is a str, a list of str, or a dict of str")
    })
}

/// A resource that is on its way.
#[pyclass(module = "mcpgateway_rust._native", frozen)]
struct PendingResource(Pending<Resource>);

#[pymethods]
impl PendingResource {
    /// Wait for it without the GIL.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        guard(py, || PyResource::convert(py, self.0.wait(py)?))
    }
}

/// A resource that was fetched.
#[pyclass(name = "Resource", module = "mcpgateway_rust", frozen)]
struct PyResource {
    resource: Resource,
    body: Py<PyPayload>,
    /// The body as JSON, once somebody asked.
    document: Arc<OnceLock<Document>>,
}

impl PyResource {
    fn convert(py: Python<'_>, resource: Resource) -> PyResult<Py<PyAny>> {
        let body = Py::new(py, PyPayload::new(resource.body.clone()))?;
        Ok(Py::new(py, Self { resource, body, document: Arc::default() })?.into_any())
    }
}

#[pymethods]
impl PyResource {
    /// Where it is, as it was asked for.
    #[getter]
    fn uri(&self) -> &str {
        &self.resource.uri
    }

    /// What kind of content it is, as its sender says.
    #[getter]
    fn content_type(&self) -> Option<&str> {
        self.resource.content_type.as_deref()
    }

    /// Its bytes.
    #[getter]
    fn body(&self, py: Python<'_>) -> Py<PyPayload> {
        self.body.clone_ref(py)
    }

    /// Its bytes as text.
    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let bytes = self.resource.body.clone().into_bytes().into_py_result(py)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(PyString::new(py, text)),
            Err(error) => Err(PyUnicodeDecodeError::new_utf8(py, &bytes, error)?.into()),
        }
    }

    /// Await its bytes as a JSON document, which is read on a thread of its own.
    fn document<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (read, body) = (Arc::clone(&self.document), self.resource.body.clone());
        let reading = async move {
            if let Some(document) = read.get() {
                return Ok(document.clone());
            }
            let document = Document::open(move || body.into_bytes(), Options::default()).await?;
            Ok(read.get_or_init(|| document).clone())
        };
        guard(py, || awaitable(py, reading, PyDocument::convert))
    }

    /// The name that its sender has for this version of it.
    #[getter]
    fn etag(&self) -> Option<&str> {
        self.resource.etag.as_deref()
    }

    /// When it was changed last, as its sender says.
    #[getter]
    fn last_modified(&self) -> Option<&str> {
        self.resource.last_modified.as_deref()
    }

    /// Seconds for which it is as good as a new one.
    #[getter]
    fn fresh_for(&self) -> Option<f64> {
        self.resource.fresh_for.map(|time| time.as_secs_f64())
    }

    /// Who may be given the same bytes: `"private"` or `"public"`.
    #[getter]
    fn scope(&self) -> &'static str {
        self.resource.scope.as_str()
    }

    /// Where its bytes came from this time.
    #[getter]
    fn came_from(&self) -> &'static str {
        self.resource.came_from.as_str()
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(usize::try_from(self.resource.body.len())?)
    }

    fn __repr__(&self) -> String {
        let kind = self.resource.content_type.as_deref().unwrap_or("no content type");
        let from = self.resource.came_from.as_str();
        format!("<Resource of {} bytes, {kind}, from {from}>", self.resource.body.len())
    }
}

fn resource_options(py: Python<'_>, given: Option<&Bound<'_, PyDict>>) -> PyResult<ResourceOptions> {
    let mut options = ResourceOptions::default();
    for (name, value) in given.into_iter().flatten() {
        if value.is_none() {
            continue;
        }
        match name.cast::<PyString>()?.to_str()? {
            "streams" => {
                let streams = NonZeroUsize::new(value.extract()?);
                options.streams =
                    streams.ok_or_else(|| PyValueError::new_err("streams=0: pass at least 1"))?;
            }
            "part_bytes" => options.part_bytes = value.extract()?,
            "resumes" => options.resumes = value.extract()?,
            "roots" => options.roots = value.extract::<Vec<PathBuf>>()?,
            "cache" => options.cache = Some(cache_from(py, &value)?),
            name => {
                return Err(PyTypeError::new_err(format!(
                    "unknown option {name:?}: there are streams, part_bytes, resumes, roots, cache"
                )));
            }
        }
    }
    Ok(options)
}

fn cache_from(py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Cache> {
    let keep_for: f64 = attribute(value, "keep_for", "Cache")?.extract()?;
    let options = CacheOptions {
        max_bytes: attribute(value, "max_bytes", "Cache")?.extract()?,
        max_entries: attribute(value, "max_entries", "Cache")?.extract()?,
        keep_for: Duration::try_from_secs_f64(keep_for)
            .map_err(|_| PyValueError::new_err(format!("keep_for={keep_for}: pass seconds above 0")))?,
    };
    let spool = attribute(value, "spool", "Cache")?;
    let spool = spool.cast::<PySpool>()?.get().spool().clone();
    py.detach(|| Cache::new(spool, options)).into_py_result(py)
}

fn fetch_from(py: Python<'_>, uri: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Fetch> {
    let mut fetch = Fetch::new(uri).into_py_result(py)?;
    for (name, value) in options.into_iter().flatten() {
        if value.is_none() {
            continue;
        }
        fetch = match name.cast::<PyString>()?.to_str()? {
            "headers" => fetch.headers(headers_from(&value)?).into_py_result(py)?,
            "timeouts" => fetch.timeouts(Some(timeouts_from(&value)?)),
            "limits" => fetch.limits(Some(limits_from(&value)?)),
            "guard" => fetch.guard(Some(guard_from(&value)?)),
            "progress" => fetch.progress(value.cast::<PyProgress>()?.get().progress()),
            "from_peer" if value.extract()? => fetch.from_peer(),
            "reload" if value.extract()? => fetch.reload(),
            "from_peer" | "reload" => fetch,
            name => {
                return Err(PyTypeError::new_err(format!(
                    "unknown option {name:?}: there are headers, timeouts, limits, guard, progress, from_peer, reload"
                )));
            }
        };
    }
    Ok(fetch)
}

/// Add this service to the native module.
///
/// # Errors
/// `MemoryError` when there is no memory for it.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(expand_template, module)?)?;
    module.add_class::<NativeResourceClient>()?;
    module.add_class::<PendingResource>()?;
    module.add_class::<PyResource>()
}
