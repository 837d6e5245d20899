//! Contains only tests: Bedrock's responses through the SDK's own replaying client.
