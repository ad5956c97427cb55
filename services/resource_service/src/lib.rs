//! Fetches resources: MCP servers, HTTP, files. Its core comes with its own milestone.
