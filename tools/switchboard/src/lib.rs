//! The program `switchboard`: the local run, and the commands of operators.
//!
//! | module | content |
//! | --- | --- |
//! | [`cli`] | the command line |
//! | [`target`] | the deployment or the local run that a command is for |
//! | [`output`] | tables, JSON, questions and progress |
//! | [`commands`] | the commands of operators |
//! | [`formats`] | exports of other products, as records of ours |
//! | [`refusal`] | reasons with an exit code of their own |

pub mod cli;
pub mod commands;
pub mod formats;
pub mod output;
pub mod refusal;
pub mod target;
