//! Holds the integration tests beside it; offers nothing of its own.
