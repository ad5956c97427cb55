"""Parts of messages, judged by an agent of the official SDK: it says what it received, and we compare what we get."""

from mcpgateway_rust import AsyncClient, Payload
from mcpgateway_rust.services.a2a_service import AsyncA2AClient
from support.a2a_peer import A2APeer, raw_of, sha256

MIB = 1 << 20


def envelope(*parts: bytes | Payload) -> Payload:
    """A JSON-RPC request of A2A 1.0 around parts that are JSON already."""
    head = b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":'
    return Payload.join([head, b'{"messageId":"1","role":"ROLE_USER","parts":[', *parts, b"]}}}"])


async def test_a_rope_around_a_raw_part_of_64_mib_is_what_the_agent_receives(a2a: A2APeer) -> None:
    raw = raw_of(64 * MIB)
    async with AsyncA2AClient(a2a.endpoint("jsonrpc-1.0")) as agent:
        body = envelope(b'{"text":"digest"},{"raw":"', Payload.base64(raw), b'"}')
        reply = await agent.invoke(body, headers={"content-type": "application/json", "a2a-version": "1.0"})
        document = await reply.document()
    received = document.at("/result/message/parts/0/data").value()
    assert received == [{"kind": "raw", "mediaType": "", "filename": "", "bytes": len(raw), "sha256": sha256(raw)}]


async def test_a_raw_part_of_64_mib_is_decoded_from_where_it_was_received(a2a: A2APeer) -> None:
    async with AsyncClient() as client:
        reply = await client.post(
            a2a.endpoint("jsonrpc-1.0"),
            envelope(b'{"text":"produce raw %d"}' % (64 * MIB)),
            headers={"content-type": "application/json", "a2a-version": "1.0"},
        )
        document = await reply.document()
    assert sha256(bytes(document.at("/result/message/parts/0/raw").base64())) == sha256(raw_of(64 * MIB))
