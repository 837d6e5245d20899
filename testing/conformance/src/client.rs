//! The client under test: a process that reads and writes lines.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use crate::protocol::Order;

/// Time within which the client must write `idle`.
const IDLE_WITHIN: Duration = Duration::from_secs(20);

/// A client under test.
pub trait Client {
    /// Passes one line to the client. Returns its lines, of which the last one is `idle`.
    fn exchange(&mut self, line: &str) -> Result<Vec<String>, String>;
}

/// A client in a process of its own. It is ended with the value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    /// Starts the command of the client.
    pub fn start(command: &[String]) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("name the command of the client")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program} does not start: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{program} has no input or output"));
        };
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines })
    }
}

impl Client for Process {
    fn exchange(&mut self, line: &str) -> Result<Vec<String>, String> {
        let written = self.input.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.input.flush());
        written.map_err(|error| format!("the client reads no more lines: {error}"))?;
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(IDLE_WITHIN).map_err(|_| {
                format!("the client ended, or wrote no `idle` within {} seconds", IDLE_WITHIN.as_secs())
            })?;
            if line.trim().is_empty() {
                continue;
            }
            let is_idle = is_idle(&line);
            lines.push(line);
            if is_idle {
                return Ok(lines);
            }
        }
    }
}

/// Returns whether a line is `{"do":"idle"}`, in any notation.
fn is_idle(line: &str) -> bool {
    line.len() < 40 && line.contains("idle") && matches!(Order::parse(line), Ok(Order::Idle))
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has ended already is no failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
