"""`python -m mcpgateway_rust.cli`."""

from mcpgateway_rust.cli import main

main()
