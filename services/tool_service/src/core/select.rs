//! What is wanted of a result: a value at a pointer, or what a jq filter makes of it.
//!
//! A pointer is looked up where the result lies. A filter is a program, and a schema can be one as good: both run in a
//! child of the process that the kernel bounds in time and memory.

use std::time::Duration;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::Val;
use mcpgateway_engine::json::{Document, Node, Options, Pointer};
use mcpgateway_engine::{Error, ErrorKind, Phase, Result, Sent, runtime};
use mcpgateway_shm::{Bounds, Ended, confined};

use super::result::{ContentKind, ToolResult};

/// What a filter or a schema may use, where the caller does not say.
pub const BOUNDS: Bounds = Bounds { time: Duration::from_secs(5), memory: 1 << 30, output: 256 << 20 };

/// What is wanted of a result.
#[derive(Clone, Debug)]
pub enum Selector {
    /// The value there.
    Pointer(Pointer),
    /// What this jq filter makes of it: its output, or an array of its outputs if there is not exactly one.
    Jq(String),
}

/// What is done with a result before it is handed over.
#[derive(Clone, Debug)]
pub struct Finish {
    /// What is wanted of it.
    pub selector: Option<Selector>,
    /// What its structured content has to keep to.
    pub schema: Option<Node>,
    /// What a filter or a schema may use.
    pub bounds: Bounds,
}

impl Default for Finish {
    fn default() -> Self {
        Self { selector: None, schema: None, bounds: BOUNDS }
    }
}

impl Finish {
    /// Do it to `result`; what says that the tool failed stays as it is.
    ///
    /// # Errors
    /// As for [`Selector::select`] and [`check_schema`].
    pub async fn apply(self, result: ToolResult) -> Result<ToolResult> {
        if result.is_error() {
            return Ok(result);
        }
        if let Some(schema) = self.schema {
            check_schema(&result, schema, self.bounds).await?;
        }
        match self.selector {
            Some(selector) => {
                let selected = selector.select(&result, self.bounds).await?;
                Ok(result.with_selected(selected))
            }
            None => Ok(result),
        }
    }
}

impl Selector {
    /// What it selects of the data of `result`: of its structured content, or else of its first text, if that is JSON.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when a pointer leads nowhere, [`ErrorKind::InvalidRequest`] when a filter is none or
    /// fails, [`ErrorKind::Timeout`] and [`ErrorKind::LimitExceeded`] when it uses more than `bounds`, and
    /// [`ErrorKind::InvalidReply`] when the result has no data.
    pub async fn select(self, result: &ToolResult, bounds: Bounds) -> Result<Node> {
        let data = data_of(result).await?;
        match self {
            Self::Pointer(pointer) => runtime::blocking(move || data.at(&pointer)).await?,
            Self::Jq(filter) => {
                let output = run(bounds, "the filter", move || jq(&filter, &data.raw())).await?;
                Document::open(move || Ok(output.into()), Options::default())
                    .await
                    .map(|document| document.root())
            }
        }
    }
}

/// Check the structured content of `result` by a JSON schema (2020-12 unless it says otherwise), which may refer to
/// nothing outside of itself.
///
/// # Errors
/// [`ErrorKind::InvalidReply`] that names the place and the rule when it does not keep to it or there is none,
/// [`ErrorKind::InvalidRequest`] when the schema is none; bounds as for [`Selector::select`].
pub async fn check_schema(result: &ToolResult, schema: Node, bounds: Bounds) -> Result<()> {
    let Some(data) = result.structured() else {
        return Err(Error::invalid_reply(
            "the tool gives no structured content, which its output schema asks for",
        ));
    };
    let found = run(bounds, "the output schema", move || validate(&schema.raw(), &data.raw())).await?;
    if found.is_empty() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&found).into_owned();
    Err(Error::invalid_reply(format!("the result does not keep to its output schema: {found}")))
}

async fn data_of(result: &ToolResult) -> Result<Node> {
    if let Some(data) = result.structured() {
        return Ok(data);
    }
    let text = result.content().into_iter().find(|content| content.kind() == ContentKind::Text);
    let text = text.ok_or_else(|| Error::invalid_reply("the result has no data to select from"))?;
    let document = Document::open(move || text.payload()?.into_bytes(), Options::default()).await;
    let document = document.map_err(|cause| {
        Error::invalid_reply("the text of the result is not JSON: there is no data to select from")
            .with_source(cause)
    })?;
    Ok(document.root())
}

/// Run `work` within `bounds`, on a thread that may wait.
async fn run(
    bounds: Bounds,
    what: &'static str,
    work: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
) -> Result<Vec<u8>> {
    let ended = runtime::blocking_until_dropped(move |dropped| confined(&bounds, dropped, work)).await?;
    let ended = ended.map_err(|cause| {
        Error::new(ErrorKind::QuotaExceeded, format!("making a process for {what}")).with_source(cause)
    })?;
    let exceeded = |name, limit: u64, subject: String| {
        Error::new(ErrorKind::LimitExceeded { name, limit, got: limit.saturating_add(1) }, subject)
    };
    let error = match ended {
        Ended::Done(output) => return Ok(output),
        Ended::Failed(why) => Error::new(ErrorKind::InvalidRequest, format!("{what}: {why}")),
        Ended::OutOfTime => {
            let subject = format!("{what} ran for longer than {:?}", bounds.time);
            Error::new(ErrorKind::Timeout { name: "filter", after: bounds.time }, subject)
        }
        Ended::OutOfMemory => exceeded(
            "filter_memory",
            bounds.memory,
            format!("{what} wanted more than {} bytes of memory", bounds.memory),
        ),
        Ended::TooLong => {
            exceeded("filter_output", bounds.output, format!("{what} made more than {} bytes", bounds.output))
        }
        Ended::Cancelled => Error::new(ErrorKind::Cancelled, format!("{what} was cancelled")),
    };
    Err(error.with_phase(Phase::Parse).with_sent(Sent::Yes))
}

/// What `filter` makes of `input`, as JSON.
fn jq(filter: &str, input: &[u8]) -> Result<Vec<u8>, String> {
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    // The environment is the gateway's.
    let funs =
        jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs()).filter(|(name, ..)| *name != "env");
    let (loader, arena) = (Loader::new(defs), Arena::default());
    let wrong = |what: &str| format!("it is no jq filter ({what})");
    let modules =
        loader.load(&arena, File { code: filter, path: () }).map_err(|_| wrong("it cannot be read"))?;
    let program = Compiler::default().with_funs(funs).compile(modules);
    let program = program.map_err(|_| wrong("it names something that is not there"))?;
    let input = jaq_json::read::parse_single(input).map_err(|error| error.to_string())?;
    let context = Ctx::<data::JustLut<Val>>::new(&program.lut, Vars::new([]));
    let mut outputs = Vec::new();
    for output in program.id.run((context, input)).map(unwrap_valr) {
        let output = output.map_err(|error| error.to_string().chars().take(200).collect::<String>())?;
        outputs.push(output.to_string());
    }
    Ok(match outputs.as_slice() {
        [one] => one.clone().into_bytes(),
        all => format!("[{}]", all.join(",")).into_bytes(),
    })
}

/// Where `data` does not keep to `schema`; empty if nowhere.
fn validate(schema: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    let read = |text| serde_json::from_slice::<serde_json::Value>(text).map_err(|error| error.to_string());
    let (schema, data) = (read(schema)?, read(data)?);
    let validator = jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(&schema)
        .map_err(|error| format!("it is no JSON schema: {error}").chars().take(300).collect::<String>())?;
    Ok(match validator.iter_errors(&data).next() {
        None => Vec::new(),
        Some(error) => {
            // Without the value, which may be large, or a secret.
            format!(
                "at {:?}, by the rule at {:?}",
                error.instance_path().as_str(),
                error.schema_path().as_str()
            )
            .into_bytes()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(filter: &str, input: &str) -> Result<String, String> {
        jq(filter, input.as_bytes()).map(|output| String::from_utf8(output).expect("UTF-8"))
    }

    #[test]
    fn one_output_is_itself_and_others_are_an_array() {
        let input = r#"{"a":[1,2.5,"x"],"n":12345678901234567890123}"#;
        assert_eq!(selected(".a", input).expect("valid"), r#"[1,2.5,"x"]"#);
        assert_eq!(selected(".a[]", input).expect("valid"), r#"[1,2.5,"x"]"#);
        assert_eq!(selected("empty", input).expect("valid"), "[]");
        assert_eq!(selected(".n", input).expect("valid"), "12345678901234567890123");
        for wrong in ["", ".a[", "nothing(1)", "env", "$ENV", ".a.b"] {
            assert!(selected(wrong, input).is_err() || wrong.is_empty(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_filter_that_loops_or_grows_is_ended() {
        let bounds = Bounds { time: Duration::from_millis(300), ..BOUNDS };
        let endless = run(bounds, "the filter", || jq("def f: f; f", b"1")).await.expect_err("endless");
        assert!(matches!(endless.kind(), ErrorKind::Timeout { name: "filter", .. }), "{endless}");
        let bounds = Bounds { memory: 256 << 20, time: Duration::from_secs(60), ..BOUNDS };
        let grown = run(bounds, "the filter", || jq("[range(1e12)]", b"1")).await.expect_err("too much");
        let kind = ErrorKind::LimitExceeded { name: "filter_memory", limit: 256 << 20, got: (256 << 20) + 1 };
        assert_eq!(*grown.kind(), kind);
    }

    #[test]
    fn what_breaks_a_schema_is_named_without_its_value() {
        let schema = br#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}"#;
        assert_eq!(validate(schema, br#"{"a":1}"#).expect("a schema"), b"");
        let found =
            String::from_utf8(validate(schema, br#"{"a":"secret"}"#).expect("a schema")).expect("UTF-8");
        assert_eq!(found, r#"at "/a", by the rule at "/properties/a/type""#);
        assert!(validate(br#"{"type":"nothing"}"#, b"{}").is_err());
        assert!(validate(br#"{"$ref":"http://127.0.0.1:9/schema"}"#, b"{}").is_err());
        assert!(validate(br#"{"$ref":"file:///etc/passwd"}"#, b"{}").is_err());
    }
}
