//! Replies of the agent, whose model is scripted.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use switchboard_client::Method;

use super::ProviderState;
use crate::{model::Line, socket::PATIENCE, states::Parameters};

impl ProviderState {
    /// Sends the agent a message as a user, and waits until the reply is being written. It does not end.
    pub(super) async fn begin_reply(&mut self, channel: &str, user: &str) -> Result<()> {
        let question = self.require_agent(channel).await?;
        let (lines, asked) = self.model.expect(&question);
        self.replies.push(lines);
        self.send(user, channel, &json!({ "content": question })).await?;
        // The agent holds the reply lease before it asks the model.
        tokio::time::timeout(PATIENCE, asked).await.context("the reply does not begin")??;
        Ok(())
    }

    /// Begins a reply, and waits until `text` of it is stored. The reply does not end.
    pub(super) async fn begin_writing(&mut self, channel: &str, user: &str, text: &str) -> Result<()> {
        self.begin_reply(channel, user).await?;
        self.replies.last().context("a reply that was just begun")?.send(Line::Say(text.to_owned()))?;
        // Text is stored before a frame shows it.
        self.hear_draft(channel, "writing").await?;
        Ok(())
    }

    /// Sends the agent a message as bob, and lets the model write as much as the state requires.
    pub(super) async fn have_answered(&mut self, channel: &str, state: &str, with: &Parameters) -> Result<Value> {
        let question = self.require_agent(channel).await?;
        if state == "the agent gives up" {
            self.model.refuse(&question);
            self.send("bob", channel, &json!({ "content": question })).await?;
            return self.hear_role(channel, "system").await;
        }
        let (lines, _) = self.model.expect(&question);
        let asked = self.send("bob", channel, &json!({ "content": question })).await?;
        if state == "the agent answers" {
            lines.send(Line::Say("An answer.".to_owned()))?;
            lines.send(Line::End)?;
            return self.hear_role(channel, "agent").await;
        }
        let status = with.text("status");
        let thinking = self.hear_draft(channel, "thinking").await?;
        lines.send(Line::Say("Some words".to_owned()))?;
        let writing = self.hear_draft(channel, "writing").await?;
        match status.as_str() {
            "cancelled" => {
                let path = format!("/channels/{channel}/messages/{}/reply/cancel", asked["seq"]);
                self.ask("bob", Method::POST, &path, &Value::Null).await?;
                return self.hear_draft(channel, "cancelled").await;
            }
            "failed" => {
                drop(lines);
                return self.hear_draft(channel, "failed").await;
            }
            "thinking" | "writing" | "done" => {}
            other => bail!("a draft is thinking, writing, done, cancelled or failed, never {other}"),
        }
        // Ends the reply in any case, so that it does not continue during the next interaction.
        lines.send(Line::End)?;
        let done = self.hear_draft(channel, "done").await?;
        Ok(match status.as_str() {
            "thinking" => thinking,
            "writing" => writing,
            _ => done,
        })
    }

    /// Requires a channel in which the agent answers each message, and a socket of the caller. Returns a question that
    /// no other state asks.
    async fn require_agent(&mut self, channel: &str) -> Result<String> {
        if self.owners.contains_key(channel) {
            self.change(channel, &json!({ "agent": { "mode": "always" } })).await?;
        } else {
            self.require_channel(channel, "always").await?;
        }
        self.listen(channel).await?;
        Ok(format!("question {}", self.bearer.tenant))
    }

    async fn hear_role(&mut self, channel: &str, role: &str) -> Result<Value> {
        self.hear_one(channel, "a message of the agent", |event| event["message"]["role"] == role).await
    }

    async fn hear_draft(&mut self, channel: &str, status: &str) -> Result<Value> {
        let socket = self.listen(channel).await?;
        let is_draft = |frame: &Value| frame["type"] == "message.delta" && frame["status"] == status;
        socket.catch_frame("a piece of a draft", is_draft).await
    }
}
