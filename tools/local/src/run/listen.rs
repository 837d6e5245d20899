//! Opens the ports of a stack.

use std::{collections::BTreeMap, net::Ipv4Addr};

use tokio::net::TcpListener;

use super::{Error, addresses::Addresses};
use crate::cli::RunOptions;

/// Port of the page if it is free, so that a bookmark stays valid after a restart.
const PAGE_PORT: u16 = 3002;

/// The open ports of a stack.
pub(super) struct Listeners {
    pub(super) rest: TcpListener,
    pub(super) websocket: TcpListener,
    /// DynamoDB for the user's programs.
    pub(super) dynamodb: TcpListener,
    pub(super) lambda: TcpListener,
    pub(super) sqs: TcpListener,
    /// CloudWatch Logs, for the audit log.
    pub(super) logs: TcpListener,
    /// DynamoDB for the functions, with their permissions.
    pub(super) gate: TcpListener,
    pub(super) otlp: TcpListener,
    pub(super) page: TcpListener,
}

/// Opens all ports. Returns them with their addresses, which lack the queues.
pub(super) async fn listen(options: &RunOptions) -> Result<(Listeners, Addresses), Error> {
    let listeners = Listeners {
        rest: bind(options.rest_port, "--rest-port").await?,
        websocket: bind(options.websocket_port, "--websocket-port").await?,
        dynamodb: bind(options.dynamodb_port, "--dynamodb-port").await?,
        lambda: bind(0, "the Lambda API").await?,
        sqs: bind(0, "the SQS API").await?,
        logs: bind(0, "the API of CloudWatch Logs").await?,
        gate: bind(0, "the functions' DynamoDB").await?,
        otlp: bind(options.otlp_port, "--otlp-port").await?,
        page: match options.page_port {
            Some(port) => bind(port, "--page-port").await?,
            None => match bind(PAGE_PORT, "--page-port").await {
                Ok(listener) => listener,
                Err(_) => bind(0, "--page-port").await?,
            },
        },
    };
    let websocket_address = listeners.websocket.local_addr()?;
    let addresses = Addresses {
        rest: format!("http://{}", listeners.rest.local_addr()?),
        websocket: format!("ws://{websocket_address}"),
        management: format!("http://{websocket_address}"),
        dynamodb: format!("http://{}", listeners.dynamodb.local_addr()?),
        lambda: format!("http://{}", listeners.lambda.local_addr()?),
        sqs: format!("http://{}", listeners.sqs.local_addr()?),
        logs: format!("http://{}", listeners.logs.local_addr()?),
        otlp: format!("http://{}", listeners.otlp.local_addr()?),
        page: format!("http://{}", listeners.page.local_addr()?),
        queues: BTreeMap::new(),
    };
    Ok((listeners, addresses))
}

async fn bind(port: u16, option: &str) -> Result<TcpListener, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        format!("cannot listen on port {port}: {error}; stop what listens there, or choose another port with {option}")
            .into()
    })
}
