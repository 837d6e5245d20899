//! Starts the APIs that functions and clients call.

use std::{path::Path, sync::Arc};

use emulator::{
    access::{self, Access},
    doors::{self, Door, Limits as DoorLimits, Origin},
    event_source::{self, Mapping},
    lambda::{self, Invoke, Lambda, Queues},
    logs::{self, Logs},
    quotas, rest,
    stack::Stack,
    websocket,
};

use super::{
    ACCOUNT_ID, Error, REGION, addresses::Addresses, listen::Listeners, servers::Servers, settings::websocket_options,
    storage::Opened,
};
use crate::{
    cli::RunOptions,
    otlp::{Collector, Forwarder, Limits},
    page::{self, PageConfig},
};

/// The functions and the resources around them that the APIs use.
pub(super) struct Backend<'a> {
    pub(super) opened: &'a Opened,
    pub(super) lambda: &'a Lambda,
    pub(super) invoke: &'a Arc<dyn Invoke>,
    pub(super) queues: Arc<Queues>,
    pub(super) mappings: &'a [Mapping],
}

/// Starts all APIs. Returns the gateway of the sockets.
pub(super) fn start_gateways(
    options: &RunOptions,
    addresses: &Addresses,
    listeners: Listeners,
    servers: &Servers,
    backend: Backend<'_>,
) -> Result<websocket::Gateway, Error> {
    let Backend { opened, lambda, invoke, queues, mappings } = backend;
    let (stack, engine, limits) = (&opened.stack, &opened.engine, servers.limits);
    servers.serve_dynamodb(listeners.dynamodb, engine.clone());
    let access = access(stack)?;
    let gate = access::gate(access.clone(), engine.clone(), arn("dynamodb", "table/"));
    servers.serve_gate(listeners.gate, engine.clone(), gate);

    let functions = arn("lambda", "function:");
    let described = event_source::router(mappings.iter().map(Mapping::description).collect());
    let lambda_api = lambda::router(lambda.clone()).merge(described);
    let lambda_api = access::signed(access::guarded(lambda_api, access.clone(), "AccessDeniedException", {
        move |parts| access::invocation(&functions, parts)
    }));
    servers.serve_service(listeners.lambda, Door::programs(), limits, lambda_api);
    let names = stack.queues.iter().map(|queue| queue.name.clone()).collect();
    let sqs_api = access::signed(lambda::sqs_router(queues, names));
    servers.serve_service(listeners.sqs, Door::programs(), limits, sqs_api);
    let logs = Logs::open(opened.directory.join("logs"))?;
    let logs_api = access::signed(logs::router(logs, access.clone(), arn("logs", "log-group:")));
    servers.serve_service(listeners.logs, Door::programs(), limits, logs_api);

    let quotas = &opened.quotas;
    let rest_api =
        rest::Gateway::with_quotas(stack.rest_api.clone(), REGION, ACCOUNT_ID, invoke.clone(), quotas.clone());
    let apis = Door::pages_of(pages(&addresses.page, &options.allowed_origins)?);
    servers.serve_intake(listeners.rest, apis.clone(), rest_api.router());
    let websocket_api = &stack.websocket_api;
    let sockets = websocket::Gateway::with_quotas(
        websocket_api.clone(),
        REGION,
        invoke.clone(),
        websocket_options(),
        quotas.clone(),
    );
    let stage = arn("execute-api", &format!("{}/{}/", websocket_api.id, websocket_api.stage));
    let management =
        access::guarded(sockets.router(), access, "ForbiddenException", move |parts| access::connection(&stage, parts));
    let socket_limits = DoorLimits { connections: doors::WEBSOCKET_CONNECTIONS, ..limits };
    servers.serve_service(listeners.websocket, apis, socket_limits, management);

    let forwarder = match &options.otlp_endpoint {
        Some(url) => {
            let stop = servers.stop_services.clone();
            Some(Forwarder::start(url, &options.otlp_headers, &servers.tasks, stop)?)
        }
        None => None,
    };
    let collector = Collector::new(Limits::default(), forwarder);
    servers.serve_service(listeners.otlp, Door::programs(), limits, collector.router());
    let page_config = PageConfig {
        rest_url: addresses.rest.clone(),
        websocket_url: addresses.websocket.clone(),
        secret: opened.secret.clone(),
    };
    let page = page::router(page_config, collector).merge(quotas::router(quotas.clone()));
    servers.serve_intake(listeners.page, Door::own_page(), page);
    Ok(sockets)
}

fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:{REGION}:{ACCOUNT_ID}:{resource}")
}

/// Returns the permissions of the functions. If this variable names a folder, allowed calls are written to a file in
/// it.
fn access(stack: &Stack) -> Result<Access, Error> {
    let access = Access::new(stack.grants.clone());
    match std::env::var_os("SWITCHBOARD_LOCAL_CALLS") {
        Some(folder) => Ok(access.with_call_log(&Path::new(&folder).join(std::process::id().to_string()))?),
        None => Ok(access),
    }
}

/// Returns the origins of pages that may call the two APIs: the run's own page by both of its names, and the given
/// ones.
fn pages(page: &str, allowed: &[Origin]) -> Result<Vec<Origin>, Error> {
    let own = [page.to_owned(), page.replace("127.0.0.1", "localhost")];
    let own: Vec<Origin> = own.iter().map(|origin| origin.parse()).collect::<Result<_, _>>()?;
    Ok(own.into_iter().chain(allowed.iter().cloned()).collect())
}
