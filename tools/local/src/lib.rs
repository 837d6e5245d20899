//! The local run: the CloudFormation template in `infra/`, run on one machine by the [`emulator`].
//!
//! [`run`] starts the stack. [`secret`] and [`token`] make the tokens that it accepts, and [`runs`] lets other commands find
//! it. [`otlp`] receives the telemetry of the functions, and [`page`] serves the browser client in `clients/web`.

pub mod binaries;
pub mod certificates;
pub mod cli;
pub mod otlp;
pub mod page;
pub mod program;
pub mod run;
pub mod runs;
pub mod secret;
pub mod token;
