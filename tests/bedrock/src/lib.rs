//! Only tests: Bedrock's answers through the SDK's own replaying client.
