//! Calls tools: MCP servers, REST endpoints, agents. Its core comes with its own milestone.
