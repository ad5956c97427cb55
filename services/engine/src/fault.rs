//! Named points at which a test can make the engine panic, or wait.
//!
//! Built only with feature `failpoints`; without it, [`point`] is nothing at all. The points are set
//! by the `FAILPOINTS` environment variable of the [`fail`] crate: `FAILPOINTS=receive::chunk=1*panic`.

/// Every point there is, in the order of a call.
pub const POINTS: [&str; 28] = [
    "request::url",
    "request::header",
    "payload::prepare",
    "payload::snapshot",
    "payload::gather",
    "payload::join",
    "payload::base64",
    "spool::frame",
    "client::build",
    "client::send",
    "send::first_frame",
    "send::frame",
    "send::stream",
    "receive::head",
    "receive::limits",
    "receive::allocate",
    "receive::chunk",
    "receive::decode",
    "receive::file",
    "receive::into",
    "receive::finish",
    "json::parse",
    "json::array",
    "json::columns",
    "json::base64",
    "json::splice",
    "json::tape",
    "json::walk",
];

/// Whether this build has the points.
pub const ARMABLE: bool = cfg!(feature = "failpoints");

/// Panic here if a test asked for it.
#[inline]
pub fn point(name: &str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in POINTS");
    fail::fail_point!(name);
}

/// Set the point `name` to `action` from now on, in the language of the [`fail`] crate: `pause` holds who comes
/// by until it is `off`.
///
/// # Errors
/// What is wrong with `name` or `action`; without feature `failpoints`, that there are none.
pub fn set(name: &str, action: &str) -> Result<(), String> {
    if !POINTS.contains(&name) {
        return Err(format!("there is no fail point {name}"));
    }
    fail::cfg(name, action)
}

/// Read `FAILPOINTS` from the environment; without feature `failpoints`, do nothing.
pub fn arm() {
    if ARMABLE {
        // The scenario is for the whole process: ending it would only disarm the points.
        std::mem::forget(fail::FailScenario::setup());
    }
}
