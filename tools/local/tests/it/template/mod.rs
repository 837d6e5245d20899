//! The template: its reader, and its properties.

mod alarms;
mod apis;
mod docs;
mod parameters;
mod reader;
mod resources;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use emulator::{
    stack::Stack,
    template::{self, Deployment, Template},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn deployment() -> Deployment {
    Deployment {
        stack_name: "switchboard".into(),
        region: "eu-west-1".into(),
        account_id: "000000000000".into(),
        // Table names without a prefix, as in the local run.
        parameters: BTreeMap::from([("TablePrefix".into(), String::new())]),
        rest_url: "http://127.0.0.1:3000".into(),
        websocket_url: "ws://127.0.0.1:3001".into(),
        management_url: "http://127.0.0.1:3002".into(),
    }
}

/// Returns the deployment without values of parameters.
fn bare() -> Deployment {
    Deployment { parameters: BTreeMap::new(), ..deployment() }
}

fn backend() -> Template {
    template::load(&repository().join("infra/backend.yaml")).unwrap()
}

fn backend_stack() -> Stack {
    backend().resolve(&deployment()).unwrap()
}

fn resolve(text: &str) -> Result<Stack, template::TemplateError> {
    Template::parse(text)?.resolve(&bare())
}
